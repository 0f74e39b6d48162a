import type { Clock } from '../mirror/ports.ts';

export type CircuitState = 'closed' | 'open' | 'half-open';

export interface CircuitRules {
  /** Failures in a row that open it. */
  readonly failuresToOpen: number;
  readonly firstOpenMs: number;
  readonly maxOpenMs: number;
}

export interface CircuitDeps {
  readonly rules: CircuitRules;
  readonly clock: Clock;
  readonly onChange: (state: CircuitState) => void;
}

/**
 * Whether an endpoint is worth asking.
 *
 *     closed ──failures in a row──▶ open (10 s) ──time──▶ half-open: one request tries
 *        ▲                            ▲                        │
 *        │                            └──fails: open, twice as long, up to 5 min
 *        └───────────────────────────────────────succeeds──────┘
 */
export class Circuit {
  readonly #deps: CircuitDeps;
  #state: CircuitState = 'closed';
  #failuresInARow = 0;
  #openForMs: number;
  #openUntilMs = Number.NEGATIVE_INFINITY;

  constructor(deps: CircuitDeps) {
    this.#deps = deps;
    this.#openForMs = deps.rules.firstOpenMs;
  }

  get state(): CircuitState {
    return this.#state;
  }

  /** How long it stays open yet. */
  get openForMs(): number {
    return Math.max(0, this.#openUntilMs - this.#deps.clock.monotonicMs());
  }

  /** Whether one more request may go; the first after the open time is the one that tries. */
  admits(): boolean {
    if (this.#state === 'closed') return true;
    if (this.#state === 'half-open' || this.openForMs > 0) return false;
    this.#become('half-open');
    return true;
  }

  succeeded(): void {
    this.#failuresInARow = 0;
    this.#openForMs = this.#deps.rules.firstOpenMs;
    this.#become('closed');
  }

  /** @param atLeastMs the endpoint itself said how long it wants to be left alone. */
  failed({ atLeastMs = 0 }: { readonly atLeastMs?: number } = {}): void {
    const { rules, clock } = this.#deps;
    this.#failuresInARow += 1;
    if (this.#state === 'closed' && this.#failuresInARow < rules.failuresToOpen) return;
    if (this.#state === 'open') return;
    if (this.#state === 'half-open') this.#openForMs = Math.min(2 * this.#openForMs, rules.maxOpenMs);
    this.#openUntilMs = clock.monotonicMs() + Math.max(this.#openForMs, atLeastMs);
    this.#become('open');
  }

  /** The request that tried was given up by its caller: the next one tries. */
  undecided(): void {
    if (this.#state === 'half-open') this.#become('open');
  }

  #become(state: CircuitState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#deps.onChange(state);
  }
}
