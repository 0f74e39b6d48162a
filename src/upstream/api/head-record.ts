import type { Clock } from '../../mirror/ports/clock.ts';

/** The kinds of content that HEAD is used for. */
export type HeadKind = 'manifest' | 'blob';

/** After this time HEAD is tried again: the registry may have been fixed. */
const uselessForMs = 10 * 60_000;
/** The server does not support the method (RFC 9110 §15.5.6, §15.5.12, §15.6.2). */
const unsupportedMethod: ReadonlySet<number> = new Set([405, 411, 501]);
/**
 * Any other refusal may be a transient error of a lagging replica or a firewall. Docker Hub counts GETs of manifests as pulls, so one such
 * refusal must not cause ten minutes of GETs.
 */
const transientErrorsTolerated = 1;

/** Whether to try HEAD at one registry, for one kind of content. */
export class HeadRecord {
  readonly #clock: Clock;
  #uselessUntilMs = -Infinity;
  #transientErrors = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get areUseless(): boolean {
    return this.#clock.monotonicMs() < this.#uselessUntilMs;
  }

  /** @param outcome `answered`, or the status of a refused HEAD after which GET succeeded. */
  record(outcome: 'answered' | number): void {
    this.#transientErrors = outcome === 'answered' ? 0 : this.#transientErrors + 1;
    if (outcome === 'answered') return;
    const isUseless = unsupportedMethod.has(outcome) || this.#transientErrors > transientErrorsTolerated;
    if (isUseless) this.#uselessUntilMs = this.#clock.monotonicMs() + uselessForMs;
  }
}
