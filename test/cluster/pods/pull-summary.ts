/** What a loop of pulls saw. It is copied beside `pull-loop.ts` into a pod: it imports nothing. */

/** Times are milliseconds since the start of the loop. */
export interface Attempt {
  readonly fromMs: number;
  readonly toMs: number;
  /** Undefined: it succeeded. */
  readonly reason: string | undefined;
}

/** Times are milliseconds. */
export interface Pulls {
  readonly pulls: number;
  /** Attempts. */
  readonly failed: number;
  /** Pulls whose repeated attempts all failed. */
  readonly lost: number;
  /** The longest time without a successful pull. */
  readonly longestGapMs: number;
  readonly longestPullMs: number;
  readonly medianMs: number;
  readonly reasons: Readonly<Record<string, number>>;
  /** Of the first failures: from when until when. */
  readonly failedAtMs: readonly (readonly number[])[];
}

const mostFailuresTold = 20;

/** Pure. @param attempts in any order. */
export function summaryOf(
  attempts: readonly Attempt[],
  { lost, endedMs }: { readonly lost: number; readonly endedMs: number },
): Pulls {
  const failures = attempts.filter(({ reason }) => reason !== undefined);
  const successes = attempts.filter(({ reason }) => reason === undefined);
  const durations = successes.map(({ fromMs, toMs }) => toMs - fromMs).toSorted((a, b) => a - b);
  const reasons = Object.groupBy(failures, ({ reason }) => reason ?? '');
  return {
    pulls: attempts.length,
    failed: failures.length,
    lost,
    longestGapMs: Math.round(longestGap([...successes.map(({ toMs }) => toMs).toSorted((a, b) => a - b), endedMs])),
    longestPullMs: Math.round(durations.at(-1) ?? 0),
    medianMs: Math.round(durations[durations.length >> 1] ?? 0),
    reasons: Object.fromEntries(Object.entries(reasons).map(([reason, list]) => [reason, list?.length ?? 0])),
    failedAtMs: failures.slice(0, mostFailuresTold).map(({ fromMs, toMs }) => [Math.round(fromMs), Math.round(toMs)]),
  };
}

/** @param timesMs in order; the first gap begins at 0. */
function longestGap(timesMs: readonly number[]): number {
  return timesMs.reduce((gap, atMs, index) => Math.max(gap, atMs - (timesMs[index - 1] ?? 0)), 0);
}
