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
    if (!isUp && !unreachable.has(outcome)) return;
    const state = isUp ? 'reachable' : 'unreachable';
    if (this.#states.get(upstream)?.state === state) return;
    const since = new Date(this.#deps.clock.now()).toISOString();
    const next: UpstreamState = { state, since, ...(!isUp && { reason: outcome }) };
    this.#states.set(upstream, next);
    this.#deps.onChange({ upstream, ...next });
  }

  /** By label. */
  states(): Readonly<Record<string, UpstreamState>> {
    const states = this.#labels.map((label) => [label, this.#states.get(label) ?? { state: 'not asked yet' }] as const);
    return Object.fromEntries(states);
  }
}
