import type { Repository } from '../../oci/reference.ts';

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
