import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A file of values, and what its comments promise. */
export interface ValuesFile {
  readonly path: string;
  /** Its first comment. */
  readonly title: string;
  /** `# expect: Kind[-suffix] .path = JSON`: what an object holds. */
  readonly expected: readonly Expected[];
  /** `# absent: Kind[-suffix]`. */
  readonly absent: readonly Named[];
  /** `# refused: text`. */
  readonly refused: readonly string[];
}

export interface Named {
  readonly kind: string;
  readonly suffix: string;
}

export interface Expected extends Named {
  readonly path: string;
  readonly value: unknown;
}

export function valuesFilesIn(folder: string): readonly ValuesFile[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => parsed(join(folder, name)));
}

function parsed(path: string): ValuesFile {
  const comments = readFileSync(path, 'utf8').matchAll(/^# (.*)$/gm);
  const lines = [...comments].map(([, text = '']) => text);
  const after = (word: string) => lines.filter((each) => each.startsWith(word)).map((each) => each.slice(word.length));
  return {
    path,
    title: lines[0] ?? '',
    expected: after('expect: ').map(expectation),
    absent: after('absent: ').map(named),
    refused: after('refused: '),
  };
}

function expectation(line: string): Expected {
  const [, name = '', path = '', json = ''] = /^(\S+) (\S+) = (.+)$/.exec(line) ?? [];
  if (json === '') throw new Error(`not "Kind .path = JSON": ${line}`);
  return { ...named(name), path, value: JSON.parse(json) };
}

function named(name: string): Named {
  const [kind = '', ...suffix] = name.split('-');
  return { kind, suffix: suffix.map((each) => `-${each}`).join('') };
}
