import type { Clock } from '../mirror/ports/clock.ts';

/** The kinds of content that are asked for with HEAD. */
export type HeadKind = 'manifest' | 'blob';

/** A registry may have been fixed by then; one HEAD finds out. */
const uselessForMs = 10 * 60_000;
/** One 500 may be a transient error. Docker Hub counts GETs of manifests as pulls, so one 500 must not cause ten minutes of them. */
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

  /** @param outcome `answered`, or the status that refused a HEAD where the GET after it succeeded. */
  note(outcome: 'answered' | number): void {
    this.#transientErrors = outcome === 500 ? this.#transientErrors + 1 : 0;
    const isUseless = outcome !== 'answered' && (outcome !== 500 || this.#transientErrors > transientErrorsTolerated);
    if (isUseless) this.#uselessUntilMs = this.#clock.monotonicMs() + uselessForMs;
  }
}
