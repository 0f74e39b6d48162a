import type { Stats } from '../../http/management/api/schemas.ts';
import type { AnswerTotals, RepositoryTotals } from '../../telemetry/answers.ts';

type Top = Stats['top'];
type Named = readonly [name: string, totals: AnswerTotals];

/** Of each order. */
const mostOfEach = 20;

/** The repositories that were served most, by bytes and by requests, and the sum of all others. Pure. */
export function topRepositories({ byName, forgotten }: RepositoryTotals): Top {
  const all = [...byName];
  const first = (valueOf: (totals: AnswerTotals) => number) => firstOf(all, valueOf);
  const top = new Map([...first(({ bytes }) => bytes), ...first(({ answers }) => answers)]);
  const rest = all.filter(([name]) => !top.has(name)).map(([, totals]) => totals);
  return {
    repositories: firstOf([...top], ({ bytes }) => bytes, top.size).map(([name, { answers, bytes }]) => ({
      name,
      requests: answers,
      bytes,
    })),
    other: {
      requests: [...rest, forgotten].reduce((sum, { answers }) => sum + answers, 0),
      bytes: [...rest, forgotten].reduce((sum, { bytes }) => sum + bytes, 0),
    },
  };
}

/** The largest first; equal ones by name, so that an answer does not change without a reason. */
function firstOf(
  all: readonly Named[],
  valueOf: (totals: AnswerTotals) => number,
  most = mostOfEach,
): readonly Named[] {
  const isBefore = ([name, totals]: Named, [otherName, other]: Named) =>
    valueOf(other) - valueOf(totals) || (name < otherName ? -1 : 1);
  return all.toSorted(isBefore).slice(0, most);
}
