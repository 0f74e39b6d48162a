import { Counter, type Registry } from 'prom-client';
import type { Observer } from '../mirror/ports/observer.ts';
import { Buckets, Durations } from './durations.ts';

type AnsweredEvent = Parameters<Observer['answered']>[0];

/** Answers whose labels are the same. */
interface Alike {
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

/** How long answers took that share the labels of the durations. */
interface Times {
  readonly whole: Buckets;
  readonly firstByte: Buckets;
}

/** Counts what every request costs to count: one look into a map, and additions. The metrics are made of it when somebody scrapes. */
export class Answers {
  readonly #alike = new Map<string, Alike>();
  readonly #times = new Map<string, Times>();
  readonly #requestSeconds: Durations;
  readonly #firstByteSeconds: Durations;

  constructor(registry: Registry) {
    const alike = () => this.#alike.values();
    new Counter({
      name: 'layerwell_http_requests_total',
      help: 'Responses to clients, by source.',
      labelNames: ['kind', 'method', 'code', 'cache', 'upstream'],
      registers: [registry],
      collect() {
        this.reset();
        for (const { kind, method, code, cache, upstream, answers } of alike())
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
        for (const { kind, cache, upstream, bytes } of alike())
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
        for (const { kind, aborts } of alike()) if (aborts > 0) this.inc({ kind }, aborts);
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
    const alike = this.#alikeOf(event);
    alike.answers += 1;
    alike.bytes += event.bytes;
    if (event.aborted) alike.aborts += 1;
    alike.times.whole.add(event.durationMs / 1_000);
    alike.times.firstByte.add(event.firstByteMs / 1_000);
  }

  #alikeOf({ kind, method, status, cache, upstream }: AnsweredEvent): Alike {
    const key = `${kind} ${method} ${status} ${cache} ${upstream}`;
    const known = this.#alike.get(key);
    if (known) return known;
    const labels = { kind, method: knownMethod(method), code: String(status), cache, upstream };
    const alike = { ...labels, times: this.#timesOf(kind, cache), answers: 0, bytes: 0, aborts: 0 };
    this.#alike.set(key, alike);
    return alike;
  }

  #timesOf(kind: string, cache: string): Times {
    const key = `${kind} ${cache}`;
    const known = this.#times.get(key);
    if (known) return known;
    const times = { whole: new Buckets(), firstByte: new Buckets() };
    this.#times.set(key, times);
    this.#requestSeconds.tellOf({ kind, cache }, times.whole);
    this.#firstByteSeconds.tellOf({ kind, cache }, times.firstByte);
    return times;
  }
}

/** Clients choose the method too. */
function knownMethod(method: string): string {
  return ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].includes(method) ? method : 'other';
}
