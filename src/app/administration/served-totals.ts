import type { Stats } from '../../http/management/api/schemas.ts';
import type { CacheWord } from '../../mirror/ports/cache-status.ts';
import type { AnswerTotals, RepositoryTotals } from '../../telemetry/answers.ts';

type Requests = Stats['requests'];
type Top = Stats['top'];
type Named = readonly [name: string, totals: AnswerTotals];

const needNothing: readonly CacheWord[] = ['hit', 'revalidated', 'stale'];

/** As the hit ratio in docs/metrics.md is computed. Pure. */
export function requestsOf(totals: ReadonlyMap<CacheWord, AnswerTotals>): Requests {
  const answersOf = (words: Iterable<CacheWord>) => sumOf([...words].map((word) => totals.get(word)?.answers ?? 0));
  const total = answersOf([...totals.keys()].filter((word) => word !== 'none'));
  const hitRatio = total === 0 ? null : answersOf(needNothing) / total;
  const heard = [...totals].filter(([, { answers }]) => answers > 0);
  return { total, hitRatio, byCache: Object.fromEntries(heard) };
}

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
      requests: sumOf([...rest, forgotten].map(({ answers }) => answers)),
      bytes: sumOf([...rest, forgotten].map(({ bytes }) => bytes)),
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

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
