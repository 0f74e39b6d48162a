import type { Clock } from '../../mirror/ports/clock.ts';
import type { Repository } from '../../oci/reference.ts';
import { boundedMap } from '../../mirror/concurrency/remembered.ts';

/** An endpoint that answered for a repository this short a time ago is up, whatever it says for others. */
export const answeredLatelyMs = 30_000;
const maxRepositories = 1_000;

/** The repositories that an endpoint answered with content when it was last asked for them. Bounded in number. */
export class AnsweringRepositories {
  readonly #clock: Clock;
  readonly #answeredAtMs = boundedMap<Repository, number>(maxRepositories);

  constructor({ clock }: { readonly clock: Clock }) {
    this.#clock = clock;
  }

  answered(repository: Repository): void {
    this.#answeredAtMs.set(repository, this.#clock.monotonicMs());
  }

  failed(repository: Repository): void {
    this.#answeredAtMs.delete(repository);
  }

  /** Whether one of them answered in the last 30 s. */
  get hasAnsweredLately(): boolean {
    const [latestMs = Number.NEGATIVE_INFINITY] = this.#answeredAtMs.values();
    return this.#clock.monotonicMs() - latestMs < answeredLatelyMs;
  }

  /** @returns whether it is one of them. It is none any more until it answers again. */
  take(repository: Repository): boolean {
    return this.#answeredAtMs.delete(repository);
  }
}

/** Failures of this many repositories mean that the registry fails, and not one repository. */
const several = 2;

/** The failures of an endpoint since its last success: how many, and whether of one repository only. Bounded. */
export class FailuresInARow {
  readonly #repositories = new Set<Repository>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get areOfSeveralRepositories(): boolean {
    return this.#repositories.size >= several;
  }

  note(repository: Repository): void {
    this.#count += 1;
    if (!this.areOfSeveralRepositories) this.#repositories.add(repository);
  }

  clear(): void {
    this.#count = 0;
    this.#repositories.clear();
  }
}
