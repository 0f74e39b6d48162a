/** How one try to deliver an event ended. */
export type Outcome =
  | {
      readonly kind: 'answered';
      readonly status: number;
      /** Of its Retry-After. */
      readonly retryAfterMs: number | undefined;
    }
  | { readonly kind: 'failed'; readonly reason: string };

/** What is done next: `done`: the next event; `skip`: the same, because this one is refused; `retry`: once more; `stop`: no event any more. */
export type Step = { readonly kind: 'done' | 'skip' | 'stop' } | { readonly kind: 'retry'; readonly afterMs: number };

export interface Tries {
  /** Failures in a row for this event, this one included. */
  readonly failures: number;
  /** For how long it was refused each time. */
  readonly refusedForMs: number;
  /** From 0 to 1. */
  readonly random: number;
}

const firstPauseMs = 1_000;
const longestPauseMs = 5 * 60_000;
const longestRetryAfterMs = 3_600_000;
/** A receiver that refuses one event for so long must not keep the others waiting. */
export const refusedForAtMostMs = 24 * 3_600_000;

/** By the rules of Standard Webhooks: only 2xx is a success, 410 ends the deliveries, and everything else is tried again. Pure. */
export function nextStep(outcome: Outcome, tries: Tries): Step {
  if (outcome.kind === 'failed') return retry(undefined, tries);
  const { status, retryAfterMs } = outcome;
  if (status >= 200 && status < 300) return { kind: 'done' };
  if (status === 410) return { kind: 'stop' };
  if (isRefusal(outcome) && tries.refusedForMs >= refusedForAtMostMs) return { kind: 'skip' };
  return retry(retryAfterMs, tries);
}

/** Whether the receiver says that the request is wrong, and not that it cannot take it now. Pure. */
export function isRefusal(outcome: Outcome): boolean {
  if (outcome.kind === 'failed') return false;
  const { status } = outcome;
  return status >= 400 && status < 500 && status !== 408 && status !== 425 && status !== 429;
}

/** Exponential, of which a random half is left out, so that several mirrors do not come at the same time. Pure. */
function retry(retryAfterMs: number | undefined, { failures, random }: Tries): Step {
  const pauseMs = Math.min(firstPauseMs * 2 ** Math.min(failures - 1, 30), longestPauseMs);
  const afterMs = Math.round(pauseMs * (0.5 + random / 2));
  return { kind: 'retry', afterMs: Math.max(afterMs, Math.min(retryAfterMs ?? 0, longestRetryAfterMs)) };
}
