import type { Clock } from '../mirror/ports/clock.ts';

/** What is looked at by HEAD. */
export type HeadKind = 'manifest' | 'blob';

/** By then a registry may have been mended; it costs one HEAD to find out. */
const uselessForMs = 10 * 60_000;
/** A 500 may be an accident. GETs of manifests are what Docker Hub counts, so that one accident must not cost ten minutes of them. */
const accidentsTolerated = 1;

/** Whether HEAD is worth a try at one registry, for one kind of content. */
export class HeadRecord {
  readonly #clock: Clock;
  #uselessUntilMs = -Infinity;
  #accidents = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get areUseless(): boolean {
    return this.#clock.monotonicMs() < this.#uselessUntilMs;
  }

  /** @param outcome of a HEAD: a status is one under which it was refused, though GET was not. */
  note(outcome: 'answered' | number): void {
    this.#accidents = outcome === 500 ? this.#accidents + 1 : 0;
    const isUseless = outcome !== 'answered' && (outcome !== 500 || this.#accidents > accidentsTolerated);
    if (isUseless) this.#uselessUntilMs = this.#clock.monotonicMs() + uselessForMs;
  }
}
