import { boundedMap } from '../../mirror/concurrency/remembered.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Repository } from '../../oci/reference.ts';

export type CircuitState = 'closed' | 'open' | 'half-open';

export interface CircuitRules {
  readonly firstOpenMs: number;
  readonly maxOpenMs: number;
}

export interface CircuitDeps {
  readonly rules: CircuitRules;
  readonly clock: Clock;
  readonly onChange: (state: CircuitState) => void;
}

/**
 * The state of a circuit. The circuit breaker decides when it opens.
 *
 *     closed ──failed──▶ open (10 s) ──time──▶ half-open: the endpoint is pinged
 *        ▲                  ▲                        │
 *        │                  └──fails: open, twice as long, up to 5 min
 *        └─────────────────────────────succeeds──────┘
 */
export class Circuit {
  readonly #deps: CircuitDeps;
  #state: CircuitState = 'closed';
  #openForMs: number;
  #openUntilMs = Number.NEGATIVE_INFINITY;

  constructor(deps: CircuitDeps) {
    this.#deps = deps;
    this.#openForMs = deps.rules.firstOpenMs;
  }

  get state(): CircuitState {
    return this.#state;
  }

  /** How long it stays open. */
  get openForMs(): number {
    return Math.max(0, this.#openUntilMs - this.#deps.clock.monotonicMs());
  }

  /** @returns whether the trial is due. If so, it begins: the caller pings, and reports the result. */
  beginTrial(): boolean {
    if (this.#state !== 'open' || this.openForMs > 0) return false;
    this.#become('half-open');
    return true;
  }

  succeeded(): void {
    this.#openForMs = this.#deps.rules.firstOpenMs;
    this.#become('closed');
  }

  /** @param atLeastMs the endpoint's Retry-After. */
  failed({ atLeastMs = 0 }: { readonly atLeastMs?: number } = {}): void {
    const { rules, clock } = this.#deps;
    if (this.#state === 'open') return;
    if (this.#state === 'half-open') this.#openForMs = Math.min(2 * this.#openForMs, rules.maxOpenMs);
    this.#openUntilMs = clock.monotonicMs() + Math.max(this.#openForMs, atLeastMs);
    this.#become('open');
  }

  /** The trial gave no result: the next request begins another. */
  undecided(): void {
    if (this.#state === 'half-open') this.#become('open');
  }

  #become(state: CircuitState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#deps.onChange(state);
  }
}

/** If this many repositories fail, the registry fails. */
const several = 2;

/** The failures of an endpoint since its last success: how many, and whether of several repositories. Bounded. */
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

/** An endpoint that answered for any repository within this time is up. */
export const answeredLatelyMs = 30_000;
const maxRepositories = 1_000;

/** The repositories whose last request to an endpoint succeeded. Bounded in number. */
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

  /** Removes a repository. @returns whether it was one of them. */
  take(repository: Repository): boolean {
    return this.#answeredAtMs.delete(repository);
  }
}
