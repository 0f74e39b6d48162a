import { resolve } from 'node:path';
import type { KeyPath, Problem } from './problems.ts';

export interface Sources {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readFile: (path: string) => Promise<string>;
  /** Relative paths start here. */
  readonly folder: string;
}

export interface Interpolated {
  readonly document: unknown;
  readonly problems: readonly Problem[];
}

/**
 * Replaces `${env:NAME}` and `${file:/path}` in every string, and makes the values of `path` and `…File` keys absolute. Replacements are not
 * interpolated again. A file's last line break is dropped.
 */
export async function interpolate(document: unknown, sources: Sources): Promise<Interpolated> {
  const problems: Problem[] = [];
  const report = (problem: Problem) => void problems.push(problem);
  return { document: await interpolated(document, [], { ...sources, report }), problems };
}

interface Walk extends Sources {
  readonly report: (problem: Problem) => void;
}

async function interpolated(value: unknown, path: KeyPath, walk: Walk): Promise<unknown> {
  if (typeof value === 'string') return absoluteIfPath(await interpolatedText(value, path, walk), path, walk);
  if (typeof value !== 'object' || value === null) return value;
  const entries: [string, unknown][] = [];
  for (const [key, item] of Object.entries(value)) {
    entries.push([key, await interpolated(item, [...path, Array.isArray(value) ? Number(key) : key], walk)]);
  }
  return Array.isArray(value) ? entries.map(([, item]) => item) : Object.fromEntries(entries);
}

function absoluteIfPath(text: string, path: KeyPath, { folder }: Walk): string {
  const key = String(path.at(-1));
  const isPath = key === 'path' || key.endsWith('File');
  return isPath && text !== '' ? resolve(folder, text) : text;
}

async function interpolatedText(text: string, path: KeyPath, walk: Walk): Promise<string> {
  let result = '';
  let after = 0;
  for (const match of text.matchAll(/\$\{([^}]*)\}/g)) {
    result += text.slice(after, match.index) + (await referenced(match[1] ?? '', path, walk));
    after = match.index + match[0].length;
  }
  return result + text.slice(after);
}

async function referenced(reference: string, path: KeyPath, walk: Walk): Promise<string> {
  const [, source, name = ''] = /^(env|file):(.+)$/.exec(reference) ?? [];
  if (source === 'env') return fromEnvironment(name, path, walk);
  if (source === 'file') return fromFile(name, path, walk);
  walk.report({
    path,
    message: 'expected ${env:NAME} or ${file:/path} where there is a ${; a secret with ${ in it belongs in a file',
  });
  return '';
}

function fromEnvironment(name: string, path: KeyPath, { env, report }: Walk): string {
  const value = env[name];
  if (value === undefined) report({ path, message: `the environment variable ${name} is not set` });
  return value ?? '';
}

async function fromFile(name: string, path: KeyPath, { readFile, folder, report }: Walk): Promise<string> {
  try {
    return (await readFile(resolve(folder, name))).replace(/\r?\n$/, '');
  } catch (cause) {
    report({ path, message: `the file ${name} cannot be read: ${reasonOf(cause)}` });
    return '';
  }
}

/** The error code, such as `ENOENT`: the message would repeat the path. */
export function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return 'unknown';
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.message;
}
