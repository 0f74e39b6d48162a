import { Counter, type Registry } from 'prom-client';
import type { CacheWord } from '../mirror/ports/cache-status.ts';

/** Counts of the answers with the same labels. */
export interface AnswerCounts {
  readonly kind: string;
  readonly method: string;
  readonly code: string;
  readonly cache: CacheWord;
  readonly upstream: string;
  readonly answers: number;
  readonly bytes: number;
  readonly aborts: number;
  /** Whether it is shown before its first answer. */
  readonly isKnown: boolean;
}

/** The methods are counted over all upstreams, and so are the words for where bytes came from: both by upstream would be 44 kB of a scrape of 50. */
export function registerAnswerCounters(registry: Registry, series: () => Iterable<AnswerCounts>): void {
  const counter = <Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
    add: (each: AnswerCounts, inc: (labels: Record<Label, string>, value: number) => void) => void,
  ) =>
    new Counter({
      name: `layerwell_${name}`,
      help,
      labelNames: [...labelNames],
      registers: [registry],
      collect() {
        this.reset();
        for (const each of series()) add(each, this.inc.bind(this));
      },
    });
  counter(
    'http_requests_total',
    'Responses to clients, by source.',
    ['kind', 'code', 'cache', 'upstream'],
    ({ kind, code, cache, upstream, answers }, inc) => inc({ kind, code, cache, upstream }, answers),
  );
  counter(
    'http_requests_by_method_total',
    'Responses to clients, by method, over all upstreams.',
    ['kind', 'method', 'code'],
    ({ kind, method, code, answers }, inc) => inc({ kind, method, code }, answers),
  );
  counter(
    'http_response_bytes_total',
    'Bytes of content sent to clients.',
    ['kind', 'upstream'],
    ({ kind, upstream, bytes, isKnown }, inc) => (bytes > 0 || isKnown) && inc({ kind, upstream }, bytes),
  );
  counter(
    'http_response_bytes_by_cache_total',
    'Bytes of content sent to clients, by source, over all upstreams.',
    ['kind', 'cache'],
    ({ kind, cache, bytes, isKnown }, inc) => (bytes > 0 || isKnown) && inc({ kind, cache }, bytes),
  );
  counter(
    'http_client_aborts_total',
    'Responses that ended early, because the client left or something failed.',
    ['kind'],
    ({ kind, aborts, isKnown }, inc) => (aborts > 0 || isKnown) && inc({ kind }, aborts),
  );
}
