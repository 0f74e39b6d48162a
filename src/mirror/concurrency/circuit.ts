import type { Clock } from '../ports/clock.ts';

export type CircuitState = 'closed' | 'open' | 'half-open';

export interface CircuitRules {
  readonly firstOpenMs: number;
  readonly maxOpenMs: number;
}

export interface CircuitDeps {
  readonly rules: CircuitRules;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly onChange: (state: CircuitState) => void;
}

/**
 * The state of a circuit to somewhere that may fail. Its owner decides when it opens.
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
