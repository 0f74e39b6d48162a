import { setTimeout as sleep } from 'node:timers/promises';
import type { StopAll } from './lifecycle.ts';

export interface DrainTimes {
  /** How long it goes on as usual, not ready, until balancers have noticed. */
  readonly preStopMs: number;
  /** How long pulls in progress may go on after that. */
  readonly drainMs: number;
}

/**
 * Stops a running mirror: not ready at once, as usual for the pre-stop time, then whatever runs has until the deadline.
 * @param options.hurry ends all waiting: a second signal.
 */
export async function drain(
  stop: StopAll,
  { preStopMs, drainMs }: DrainTimes,
  { hurry }: { readonly hurry: AbortSignal },
): Promise<void> {
  // A hurry ends the sleep early, and means no more than that.
  await sleep(preStopMs, undefined, { signal: hurry }).catch(() => {});
  await stop(drainMs, { hurry });
}
