/** Upper ends of the buckets, of every duration that is measured. */
export const secondsOfBuckets = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/** Durations counted by bucket: adding one is a comparison or two and an addition. */
export class Buckets {
  /** One more than there are ends: the last has none. */
  readonly #counts = Array.from({ length: secondsOfBuckets.length + 1 }, () => 0);
  #sumSeconds = 0;

  add(seconds: number): void {
    let place = 0;
    while (seconds > (secondsOfBuckets[place] ?? Infinity)) place += 1;
    this.#counts[place] = (this.#counts[place] ?? 0) + 1;
    this.#sumSeconds += seconds;
  }

  get sumSeconds(): number {
    return this.#sumSeconds;
  }

  get count(): number {
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }

  /** As Prometheus counts: in each bucket also what is in the lower ones. */
  cumulated(): readonly { readonly upToSeconds: number; readonly count: number }[] {
    let count = 0;
    return secondsOfBuckets.map((upToSeconds, place) => {
      count += this.#counts[place] ?? 0;
      return { upToSeconds, count };
    });
  }
}
