import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { Observer } from '../mirror/ports/observer.ts';
import { createInstruments, createReadouts, type Readings } from './instruments.ts';

export interface MetricsDeps extends Readings {
  readonly version: string;
  readonly nodeVersion: string;
  /** Where they are registered; for their page. */
  readonly registry?: Registry;
  /** Failures no client hears of: for the log. */
  readonly onTrouble: (event: { readonly part: string; readonly cause: unknown }) => void;
  readonly onRateLimitSeen: (event: Parameters<Observer['rateLimitSeen']>[0]) => void;
  /** Every answer of an upstream, and every one that did not come: for readiness. */
  readonly onUpstreamAnswered: (event: Parameters<Observer['upstreamAnswered']>[0]) => void;
  /** An upstream became unreachable, or came back: for the log. */
  readonly onCircuitChanged: (event: Parameters<Observer['circuitChanged']>[0]) => void;
  /** Downloads that did not end well: for the log. */
  readonly onDownloadFailed: (event: Parameters<Observer['downloadEnded']>[0]) => void;
}

export interface Metrics extends Observer {
  unhandledRejection(): void;
  /** The Prometheus text format. */
  text(): Promise<string>;
  readonly contentType: string;
}

/** Counts what the mirror tells, and passes on what is not for counting alone. The metrics themselves are in instruments.ts. */
export function createMetrics(deps: MetricsDeps): Metrics {
  const { registry = new Registry() } = deps;
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: 'layerwell_build_info',
    help: 'Always 1; the labels name the running version.',
    labelNames: ['version', 'node_version'],
    registers: [registry],
  }).set({ version: deps.version, node_version: deps.nodeVersion }, 1);
  createReadouts(registry, deps);
  const tell = createInstruments(registry);
  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    answered: (event) => tell.answers.count(event),
    rejected: ({ reason }) => tell.rejections.inc({ reason }),
    upstreamAnswered: (event) => {
      const { upstream, kind, method, outcome, durationMs } = event;
      deps.onUpstreamAnswered(event);
      tell.upstreamRequests.inc({ upstream, kind, method, code: String(outcome) });
      tell.upstreamSeconds.observe({ upstream, kind }, durationMs / 1000);
    },
    rateLimitSeen: (event) => {
      const { upstream, account, limit, remaining, windowSeconds } = event;
      tell.rateLimit.set({ upstream, account }, limit);
      tell.rateLimitRemaining.set({ upstream, account }, remaining);
      if (windowSeconds !== undefined) tell.rateLimitWindow.set({ upstream, account }, windowSeconds);
      deps.onRateLimitSeen(event);
    },
    circuitChanged: ({ upstream, endpoint, state }) => {
      for (const other of ['closed', 'open', 'half-open']) tell.circuits.set({ upstream, endpoint, state: other }, 0);
      tell.circuits.set({ upstream, endpoint, state }, 1);
      deps.onCircuitChanged({ upstream, endpoint, state });
    },
    upstreamBytes: ({ upstream, kind, bytes }) => tell.upstreamBytes.inc({ upstream, kind }, bytes),
    downloadStarted: ({ upstream }) => tell.downloadsInFlight.inc({ upstream }),
    downloadsWaiting: ({ upstream, waiting }) => tell.downloadsWaiting.set({ upstream }, waiting),
    downloadEnded: (event) => {
      tell.downloadsInFlight.dec({ upstream: event.upstream });
      tell.downloads.inc({ upstream: event.upstream, result: event.result });
      tell.downloadSeconds.observe(event.durationMs / 1000);
      if (event.result !== 'ok') deps.onDownloadFailed(event);
    },
    collapsed: ({ kind }) => tell.collapsed.inc({ kind }),
    tagRevalidated: ({ upstream, result }) => tell.revalidations.inc({ upstream, result }),
    servedStale: ({ upstream, reason }) => tell.stale.inc({ upstream, reason }),
    contentStored: ({ kind, bytes }) => tell.admittedBytes.inc({ kind }, bytes),
    evicted: ({ reason, bytes }) => {
      tell.evictions.inc({ reason });
      tell.evictedBytes.inc({ reason }, bytes);
    },
    corruptionFound: ({ source }) => tell.corruptions.inc({ source }),
    scrubbed: ({ bytes }) => {
      tell.scrubbedBytes.inc(bytes);
      tell.lastScrub.setToCurrentTime();
    },
    unhandledRejection: () => tell.unhandledRejections.inc(),
    trouble: (event) => {
      tell.troubles.inc({ part: event.part });
      deps.onTrouble(event);
    },
  };
}
