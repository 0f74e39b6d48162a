import type { Clock } from '../mirror/ports/clock.ts';
import type { Observer } from '../mirror/ports/observer.ts';

type Answered = Parameters<Observer['upstreamAnswered']>[0];

export interface UpstreamState {
  readonly state: 'not asked yet' | 'reachable' | 'unreachable';
  /** Why not, in a word. */
  readonly trouble?: string;
  /** Since when, as an ISO date. */
  readonly since?: string;
}

export interface UpstreamHealthDeps {
  /** Of every upstream of the configuration. */
  readonly labels: readonly string[];
  readonly clock: Clock;
  /** Told when an upstream becomes reachable or unreachable. */
  readonly onChange: (event: { readonly upstream: string } & UpstreamState) => void;
}

/** What gave no headers at all; any HTTP status means that somebody is there. */
const unreachable = new Set(['connect', 'dns', 'tls', 'timeout']);

/** Which upstreams were reached when they were last asked. It asks nobody itself: a mirror with no network is still a mirror. */
export class UpstreamHealth {
  readonly #deps: UpstreamHealthDeps;
  #labels: readonly string[];
  readonly #states = new Map<string, UpstreamState>();

  constructor(deps: UpstreamHealthDeps) {
    this.#deps = deps;
    this.#labels = deps.labels;
  }

  /** The configuration has changed. */
  follow(labels: readonly string[]): void {
    this.#labels = labels;
  }

  note({ upstream, outcome }: Pick<Answered, 'upstream' | 'outcome'>): void {
    const isUp = typeof outcome === 'number';
    if (!isUp && !unreachable.has(outcome)) return;
    const state = isUp ? 'reachable' : 'unreachable';
    if (this.#states.get(upstream)?.state === state) return;
    const since = new Date(this.#deps.clock.now()).toISOString();
    const next: UpstreamState = { state, since, ...(!isUp && { trouble: outcome }) };
    this.#states.set(upstream, next);
    this.#deps.onChange({ upstream, ...next });
  }

  /** By label. */
  states(): Readonly<Record<string, UpstreamState>> {
    const told = this.#labels.map((label) => [label, this.#states.get(label) ?? { state: 'not asked yet' }] as const);
    return Object.fromEntries(told);
  }
}
