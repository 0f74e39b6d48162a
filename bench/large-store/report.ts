import type { LargeStore } from '../../test/support/large-store.ts';
import { verdictOn } from '../targets.ts';
import type { Measured } from './figures.ts';

const number = (value: number) => value.toLocaleString('en-US');
const short = (value: number) => number(Number(value.toPrecision(3)));

export interface ReportFacts {
  readonly size: LargeStore;
  readonly machine: readonly string[];
}

/** The report as Markdown. Pure. */
export function reportOf(
  measured: readonly Measured[],
  { size, machine }: ReportFacts,
): { readonly text: string; readonly isMet: boolean } {
  const bounds = measured.flatMap((one) => one.bounds);
  const verdicts = bounds.map(verdictOn);
  const rows = bounds.map(
    (bound, at) =>
      `| ${bound.what} | ${short(bound.measured)} | ${bound.limit} | ${verdicts[at]?.isMet ? 'yes' : '**no**'} |`,
  );
  const figures = measured.flatMap((one) => one.figures);
  const text = `# What a large store costs

By \`node bench/large-store.ts --report\`: ${number(size.images * size.layers)} blobs, ${number(size.images)} manifests with as many tags, ${number(size.repositories)} repositories; their
files are real, and small. A small store has 100 of these images.

${machine.map((fact) => `- ${fact}`).join('\n')}

| | measured | at most | met |
|---|---:|---:|---|
${rows.join('\n')}

Without a target:

| | measured |
|---|---:|
${figures.map((figure) => `| ${figure.what} | ${short(figure.measured)} |`).join('\n')}
`;
  return { text, isMet: verdicts.every(({ isMet }) => isMet) };
}
