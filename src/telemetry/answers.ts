import { LRUCache } from 'lru-cache';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { CacheWord } from '../mirror/ports/cache-status.ts';
import type { Observer } from '../mirror/ports/observer.ts';

type AnsweredEvent = Parameters<Observer['answered']>[0];

type AnsweredLabels = Pick<AnsweredEvent, 'kind' | 'method' | 'status' | 'cache' | 'upstream'>;

/** Of an upstream that answers. Blobs have no lifetime, so they are not revalidated. */
const ratioParts: readonly (readonly [AnsweredEvent['kind'], AnsweredEvent['cache']])[] = [
  ['manifest', 'hit'],
  ['manifest', 'miss'],
  ['manifest', 'collapsed'],
  ['manifest', 'revalidated'],
  ['blob', 'hit'],
  ['blob', 'miss'],
  ['blob', 'collapsed'],
];

export interface AnswerTotals {
  readonly answers: number;
  readonly bytes: number;
}

/** What was served of each repository. */
export interface RepositoryTotals {
  /** By `<upstream>/<repository>`: the {@link mostRepositories} that were served last. */
  readonly byName: ReadonlyMap<string, AnswerTotals>;
  /** Of those that are not counted by name any more. */
  readonly forgotten: AnswerTotals;
}

export const mostRepositories = 1_000;

/** Counts of the answers with the same labels. */
interface Series {
  readonly kind: string;
  readonly method: string;
  readonly code: string;
  readonly cache: CacheWord;
  readonly upstream: string;
  /** Undefined before the first answer. */
  times: Times | undefined;
  answers: number;
  bytes: number;
  aborts: number;
  /** Whether it is shown before its first answer. */
  isKnown: boolean;
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
  readonly #forgotten = { answers: 0, bytes: 0 };
  readonly #repositories = new LRUCache<string, { answers: number; bytes: number }>({
    max: mostRepositories,
    dispose: (totals) => addTo(this.#forgotten, totals),
  });
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
        for (const { kind, cache, upstream, bytes, isKnown } of series())
          if (bytes > 0 || isKnown) this.inc({ kind, cache, upstream }, bytes);
      },
    });
    new Counter({
      name: 'layerwell_http_client_aborts_total',
      help: 'Responses that ended early, because the client left or something failed.',
      labelNames: ['kind'],
      registers: [registry],
      collect() {
        this.reset();
        for (const { kind, aborts, isKnown } of series()) if (aborts > 0 || isKnown) this.inc({ kind }, aborts);
      },
    });
    this.#requestSeconds = new Durations({
      name: 'layerwell_http_request_duration_seconds',
      help: 'Time from the request to the end of the response.',
      labelNames: ['kind', 'cache'],
      bounds: secondsOfBuckets.filter((bound) => bound >= 0.005),
      registry,
    });
    this.#firstByteSeconds = new Durations({
      name: 'layerwell_http_time_to_first_byte_seconds',
      help: 'Time from the request to the response headers.',
      labelNames: ['kind', 'cache'],
      bounds: secondsOfBuckets.filter((bound) => bound <= 30),
      registry,
    });
  }

  /** What the hit ratio of an upstream is computed from begins at 0. Of bytes and times, those of hits and misses do. */
  begin(upstream: string): void {
    for (const [kind, cache] of ratioParts) {
      const series = this.#seriesOf({ kind, method: 'GET', status: 200, cache, upstream });
      const isCommon = cache === 'hit' || cache === 'miss';
      if (isCommon) series.times ??= this.#timesOf(kind, cache);
      series.isKnown = isCommon || kind === 'blob';
    }
  }

  count(event: AnsweredEvent): void {
    const series = this.#seriesOf(event);
    series.answers += 1;
    series.bytes += event.bytes;
    if (event.aborted) series.aborts += 1;
    const times = (series.times ??= this.#timesOf(event.kind, event.cache));
    times.whole.add(event.durationMs / 1_000);
    times.firstByte.add(event.firstByteMs / 1_000);
    // Names that are refused would take the places of those that are served.
    if (event.repository !== undefined && event.status < 400) this.#countRepository(event.repository, event.bytes);
  }

  repositories(): RepositoryTotals {
    return { byName: new Map(this.#repositories.entries()), forgotten: { ...this.#forgotten } };
  }

  /** Answers and bytes since the start of the process, by the word for where they came from. */
  totals(): ReadonlyMap<CacheWord, AnswerTotals> {
    const totals = new Map<CacheWord, AnswerTotals>();
    for (const { cache, answers, bytes } of this.#series.values()) {
      const before = totals.get(cache) ?? { answers: 0, bytes: 0 };
      totals.set(cache, { answers: before.answers + answers, bytes: before.bytes + bytes });
    }
    return totals;
  }

  #countRepository(name: string, bytes: number): void {
    const known = this.#repositories.get(name);
    if (known) addTo(known, { answers: 1, bytes });
    else this.#repositories.set(name, { answers: 1, bytes });
  }

  #seriesOf({ kind, method, status, cache, upstream }: AnsweredLabels): Series {
    const key = `${kind} ${method} ${status} ${cache} ${upstream}`;
    const known = this.#series.get(key);
    if (known) return known;
    const labels = { kind, method: knownMethod(method), code: String(status), cache, upstream };
    const series = { ...labels, times: undefined, answers: 0, bytes: 0, aborts: 0, isKnown: false };
    this.#series.set(key, series);
    return series;
  }

  #timesOf(kind: string, cache: string): Times {
    const key = `${kind} ${cache}`;
    const known = this.#times.get(key);
    if (known) return known;
    const labels = { kind, cache };
    const times = { whole: this.#requestSeconds.add(labels), firstByte: this.#firstByteSeconds.add(labels) };
    this.#times.set(key, times);
    return times;
  }
}

/** Clients choose the method, so unknown ones share a label. */
function knownMethod(method: string): string {
  return ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].includes(method) ? method : 'other';
}

/** Upper bounds of the buckets of duration histograms, where nothing else is said. */
export const secondsOfBuckets = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

function addTo(sum: { answers: number; bytes: number }, { answers, bytes }: AnswerTotals): void {
  sum.answers += answers;
  sum.bytes += bytes;
}

/** Durations counted by bucket. Adding one is cheap: a few comparisons and an addition. */
export class Buckets {
  readonly #bounds: readonly number[];
  /** One more than there are bounds: the last bucket has none. */
  readonly #counts: number[];
  #sumSeconds = 0;

  constructor(bounds: readonly number[] = secondsOfBuckets) {
    this.#bounds = bounds;
    this.#counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  add(seconds: number): void {
    let place = 0;
    while (seconds > (this.#bounds[place] ?? Infinity)) place += 1;
    this.#counts[place] = (this.#counts[place] ?? 0) + 1;
    this.#sumSeconds += seconds;
  }

  get sumSeconds(): number {
    return this.#sumSeconds;
  }

  get count(): number {
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }

  /** Cumulative, as in Prometheus: each bucket includes the lower ones. */
  cumulated(): readonly { readonly upToSeconds: number; readonly count: number }[] {
    let count = 0;
    return this.#bounds.map((upToSeconds, place) => {
      count += this.#counts[place] ?? 0;
      return { upToSeconds, count };
    });
  }
}

type Label = 'kind' | 'cache' | 'operation' | 'le';
type Labels = Partial<Record<Label, string>>;
type Value = Awaited<ReturnType<Gauge<Label>['get']>>['values'][number] & {
  readonly metricName: string;
};

export interface DurationsOptions {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly Label[];
  readonly bounds?: readonly number[];
  readonly registry: Registry;
}

/** A histogram, counted elsewhere: observing in prom-client's own takes 1 µs. For the registry it is a Gauge. */
export class Durations extends Gauge<Label> {
  readonly #named: Histogram;
  readonly #bounds: readonly number[];
  readonly #series: { readonly labels: Labels; readonly buckets: Buckets }[] = [];

  constructor({ name, help, labelNames, bounds = secondsOfBuckets, registry }: DurationsOptions) {
    super({ name, help, labelNames: [...labelNames], registers: [registry] });
    this.#named = new Histogram({ name, help, buckets: [...bounds], registers: [] });
    this.#bounds = bounds;
  }

  /** Adds a series. @returns what counts its durations. */
  add(labels: Labels): Buckets {
    const buckets = new Buckets(this.#bounds);
    this.#series.push({ labels, buckets });
    return buckets;
  }

  override async get() {
    const { name, help, type, aggregator, collect } = await this.#named.get();
    const values = this.#series.flatMap(({ labels, buckets }) => valuesOf(name, labels, buckets));
    return { name, help, type, aggregator, collect, values };
  }
}

function valuesOf(name: string, labels: Labels, buckets: Buckets): readonly Value[] {
  const bucket = (le: number | string, value: number) => ({
    metricName: `${name}_bucket`,
    labels: { le, ...labels },
    value,
  });
  return [
    ...buckets.cumulated().map(({ upToSeconds, count }) => bucket(upToSeconds, count)),
    bucket('+Inf', buckets.count),
    { metricName: `${name}_sum`, labels, value: buckets.sumSeconds },
    { metricName: `${name}_count`, labels, value: buckets.count },
  ];
}

/** Durations by operation, from a fixed list: each begins at 0. */
export class OperationDurations<Operation extends string> {
  readonly #buckets: ReadonlyMap<Operation, Buckets>;

  constructor(operations: readonly Operation[], named: Omit<DurationsOptions, 'labelNames'>) {
    const durations = new Durations({ ...named, labelNames: ['operation'] });
    this.#buckets = new Map(operations.map((operation) => [operation, durations.add({ operation })]));
  }

  add({ operation, durationMs }: { readonly operation: Operation; readonly durationMs: number }): void {
    this.#buckets.get(operation)?.add(durationMs / 1_000);
  }
}
