import { Counter, type Registry } from 'prom-client';
import type { Observer } from '../mirror/ports/observer.ts';
import { Buckets, Durations } from './durations.ts';

type AnsweredEvent = Parameters<Observer['answered']>[0];

/** Counts of the answers with the same labels. */
interface Series {
  readonly kind: string;
  readonly method: string;
  readonly code: string;
  readonly cache: string;
  readonly upstream: string;
  readonly times: Times;
  answers: number;
  bytes: number;
  aborts: number;
}

/** Durations of the answers with the same `kind` and `cache`. */
interface Times {
  readonly whole: Buckets;
  readonly firstByte: Buckets;
}

/** Counts answers at the cost of one map lookup and a few additions for each. The metrics are computed at each scrape. */
export class Answers {
  readonly #series = new Map<string, Series>();
  readonly #times = new Map<string, Times>();
  readonly #requestSeconds: Durations;
  readonly #firstByteSeconds: Durations;

  constructor(registry: Registry) {
    const series = () => this.#series.values();
    new Counter({
      name: 'layerwell_http_requests_total',
      help: 'Responses to clients, by source.',
      labelNames: ['kind', 'method', 'code', 'cache', 'upstream'],
      registers: [registry],
      collect() {
        this.reset();
        for (const { kind, method, code, cache, upstream, answers } of series())
          this.inc({ kind, method, code, cache, upstream }, answers);
      },
    });
    new Counter({
      name: 'layerwell_http_response_bytes_total',
      help: 'Bytes of content sent to clients.',
      labelNames: ['kind', 'cache', 'upstream'],
      registers: [registry],
      collect() {
        this.reset();
        for (const { kind, cache, upstream, bytes } of series())
          if (bytes > 0) this.inc({ kind, cache, upstream }, bytes);
      },
    });
    new Counter({
      name: 'layerwell_http_client_aborts_total',
      help: 'Responses that ended early, because the client left or something failed.',
      labelNames: ['kind'],
      registers: [registry],
      collect() {
        this.reset();
        for (const { kind, aborts } of series()) if (aborts > 0) this.inc({ kind }, aborts);
      },
    });
    this.#requestSeconds = new Durations({
      name: 'layerwell_http_request_duration_seconds',
      help: 'Time from the request to the end of the response.',
      registry,
    });
    this.#firstByteSeconds = new Durations({
      name: 'layerwell_http_time_to_first_byte_seconds',
      help: 'Time from the request to the response headers.',
      registry,
    });
  }

  count(event: AnsweredEvent): void {
    const series = this.#seriesOf(event);
    series.answers += 1;
    series.bytes += event.bytes;
    if (event.aborted) series.aborts += 1;
    series.times.whole.add(event.durationMs / 1_000);
    series.times.firstByte.add(event.firstByteMs / 1_000);
  }

  #seriesOf({ kind, method, status, cache, upstream }: AnsweredEvent): Series {
    const key = `${kind} ${method} ${status} ${cache} ${upstream}`;
    const known = this.#series.get(key);
    if (known) return known;
    const labels = { kind, method: knownMethod(method), code: String(status), cache, upstream };
    const series = { ...labels, times: this.#timesOf(kind, cache), answers: 0, bytes: 0, aborts: 0 };
    this.#series.set(key, series);
    return series;
  }

  #timesOf(kind: string, cache: string): Times {
    const key = `${kind} ${cache}`;
    const known = this.#times.get(key);
    if (known) return known;
    const times = { whole: new Buckets(), firstByte: new Buckets() };
    this.#times.set(key, times);
    this.#requestSeconds.add({ kind, cache }, times.whole);
    this.#firstByteSeconds.add({ kind, cache }, times.firstByte);
    return times;
  }
}

/** Clients choose the method, so unknown ones share a label. */
function knownMethod(method: string): string {
  return ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].includes(method) ? method : 'other';
}
