import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cluster } from './cluster.ts';
import type { Finding } from './scenario.ts';

export interface Line {
  readonly shape: string;
  readonly scenario: string;
  readonly finding: Finding;
}

const page = join(import.meta.dirname, '../../docs/kubernetes.md');
const [begin, end] = ['<!-- results -->', '<!-- end of results -->'];

/** The lines of former runs, of which these replace some. Keeps all in the file. */
export async function addedTo(file: string | undefined, lines: readonly Line[]): Promise<readonly Line[]> {
  if (file === undefined) return lines;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- written below
  const former = JSON.parse(await readFile(file, 'utf8').catch(() => '[]')) as readonly Line[];
  const keyOf = ({ shape, scenario }: Line) => `${shape}\n${scenario}`;
  const all = new Map([...former, ...lines].map((line) => [keyOf(line), line]));
  await writeFile(file, JSON.stringify([...all.values()], undefined, 2));
  return [...all.values()];
}

/** Replaces the results in docs/kubernetes.md. */
export async function writeReport(lines: readonly Line[], cluster: Cluster): Promise<void> {
  const { stdout } = await cluster.kubectl(['version', '--output', 'json']);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what kubectl prints
  const { serverVersion } = JSON.parse(stdout) as { serverVersion: { gitVersion: string } };
  const shapes = [...new Set(lines.map(({ shape }) => shape))].filter((shape) => !shape.endsWith('.yaml'));
  const tables = shapes.map((shape) => tableOf(shape, lines));
  const results = [`Kubernetes ${serverVersion.gitVersion}.`, ...tables, dryRunsIn(lines)].filter(
    (part) => part !== '',
  );
  const text = await readFile(page, 'utf8');
  const [before = '', rest = ''] = text.split(begin);
  const [former = '', after = ''] = rest.split(end);
  await writeFile(page, `${before}${begin}\n\n${mergedResults(former, results.join('\n\n'))}\n\n${end}${after}`);
}

/** A run of some shapes or scenarios replaces their rows, and keeps what it has not run. Pure. */
export function mergedResults(former: string, now: string): string {
  const [known, found] = [sectionsOf(former), sectionsOf(now)];
  const titles = [...new Set([...known.keys(), ...found.keys()])];
  return titles.map((title) => mergedSection(known.get(title) ?? [], found.get(title) ?? [])).join('\n\n');
}

/** The lines of each section, by its heading; what is before the first has none. */
function sectionsOf(text: string): ReadonlyMap<string, readonly string[]> {
  const parts = text.trim() === '' ? [] : text.trim().split(/\n+(?=### )/);
  return new Map(parts.map((part) => [/^### .*/.exec(part)?.[0] ?? '', part.split('\n')]));
}

function mergedSection(former: readonly string[], now: readonly string[]): string {
  if (former.length === 0 || now.length === 0 || !now.some(isRow)) return (now.length > 0 ? now : former).join('\n');
  const rows = new Map([...former, ...now].filter(isRow).map((row) => [row.split(' | ')[0], row]));
  return [...now.filter((line) => !isRow(line)), ...rows.values()].join('\n');
}

/** Not the head of a table. */
function isRow(line: string): boolean {
  return line.startsWith('| ') && !/^\| (Scenario|Values) \|/.test(line);
}

function tableOf(shape: string, lines: readonly Line[]): string {
  const rows = lines.filter((line) => line.shape === shape).map(({ scenario, finding }) => rowOf(scenario, finding));
  const head = '| Scenario | Pulls | Failed attempts | Lost pulls | Longest gap | Notes |\n|---|---|---|---|---|---|';
  return `### ${shape}\n\n${head}\n${rows.join('\n')}`;
}

function rowOf(scenario: string, { pulls, note, problems }: Finding): string {
  const counts = pulls
    ? [pulls.pulls, pulls.failed, pulls.lost, `${(pulls.longestGapMs / 1_000).toFixed(1)} s`]
    : ['', '', '', ''];
  const said = [...(note === undefined ? [] : [note]), ...problems.map((problem) => `**${oneLine(problem)}**`)];
  return `| ${[scenario, ...counts, said.join('; ')].join(' | ')} |`;
}

function dryRunsIn(lines: readonly Line[]): string {
  const files = lines.filter(({ shape }) => shape.endsWith('.yaml'));
  if (files.length === 0) return '';
  const head = '| Values | Server-side dry run |\n|---|---|';
  const rows = files.map(({ shape, finding: { note = '', problems } }) => {
    return `| \`${shape}\` | ${[note, ...problems.map((problem) => `**${oneLine(problem)}**`)].join('; ')} |`;
  });
  return `### Objects\n\n${head}\n${rows.join('\n')}`;
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').replaceAll('|', '\\|').slice(0, 300);
}
