import type { Clock } from '../mirror/ports/clock.ts';
import type { UpstreamMonitor } from '../mirror/ports/upstream.ts';

type Answered = Parameters<UpstreamMonitor['health']['record']>[0];

export interface UpstreamState {
  readonly state: 'not asked yet' | 'reachable' | 'unreachable';
  /** Why it is unreachable. */
  readonly reason?: string;
  /** Since when, in ISO 8601. */
  readonly since?: string;
}

export interface UpstreamHealthDeps {
  /** Of every upstream of the configuration. */
  readonly labels: readonly string[];
  readonly clock: Clock;
  /** Called when an upstream becomes reachable or unreachable. */
  readonly onChange: (event: { readonly upstream: string } & UpstreamState) => void;
}

/** Outcomes without response headers; with any HTTP status an upstream is reachable. */
const unreachable = new Set(['connect', 'dns', 'tls', 'timeout']);

/** Whether each upstream was reachable at its last request. It sends no requests itself. */
export class UpstreamHealth {
  readonly #deps: UpstreamHealthDeps;
  #labels: readonly string[];
  readonly #states = new Map<string, UpstreamState>();
  readonly #lastSuccessAtMs = new Map<string, number>();

  constructor(deps: UpstreamHealthDeps) {
    this.#deps = deps;
    this.#labels = deps.labels;
  }

  /** To be called when the configuration has changed. */
  follow(labels: readonly string[]): void {
    this.#labels = labels;
  }

  record({ upstream, outcome }: Answered): void {
    const isUp = typeof outcome === 'number';
    if (isUp && outcome < 500 && outcome !== 429) this.#lastSuccessAtMs.set(upstream, this.#deps.clock.now());
    if (!isUp && !unreachable.has(outcome)) return;
    const state = isUp ? 'reachable' : 'unreachable';
    if (this.#states.get(upstream)?.state === state) return;
    const since = new Date(this.#deps.clock.now()).toISOString();
    const next: UpstreamState = { state, since, ...(!isUp && { reason: outcome }) };
    this.#states.set(upstream, next);
    this.#deps.onChange({ upstream, ...next });
  }

  /** When each upstream gave its last answer below 500 other than 429; for metrics. */
  lastSuccesses(): readonly {
    readonly upstream: string;
    readonly isUp: boolean | undefined;
    readonly lastSuccessAtMs: number | undefined;
  }[] {
    return this.#labels.map((upstream) => {
      const state = this.#states.get(upstream)?.state;
      const isUp = state === undefined ? undefined : state === 'reachable';
      return { upstream, isUp, lastSuccessAtMs: this.#lastSuccessAtMs.get(upstream) };
    });
  }

  /** By label. */
  states(): Readonly<Record<string, UpstreamState>> {
    const states = this.#labels.map((label) => [label, this.#states.get(label) ?? { state: 'not asked yet' }] as const);
    return Object.fromEntries(states);
  }
}
