import { Gauge, Histogram, type Registry } from 'prom-client';

/** Upper bounds of the buckets of every duration histogram. */
export const secondsOfBuckets = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/** Durations counted by bucket. Adding one is cheap: a few comparisons and an addition. */
export class Buckets {
  /** One more than there are bounds: the last bucket has none. */
  readonly #counts = Array.from({ length: secondsOfBuckets.length + 1 }, () => 0);
  #sumSeconds = 0;

  add(seconds: number): void {
    let place = 0;
    while (seconds > (secondsOfBuckets[place] ?? Infinity)) place += 1;
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
    return secondsOfBuckets.map((upToSeconds, place) => {
      count += this.#counts[place] ?? 0;
      return { upToSeconds, count };
    });
  }
}

type Label = 'kind' | 'cache' | 'le';
type Labels = Partial<Record<Label, string>>;
type Value = Awaited<ReturnType<Gauge<Label>['get']>>['values'][number] & {
  readonly metricName: string;
};

export interface DurationsOptions {
  readonly name: string;
  readonly help: string;
  readonly registry: Registry;
}

/**
 * A histogram whose buckets are counted elsewhere and read at each scrape: observing a value in prom-client's own takes 1 µs. For the
 * registry it is a Gauge, but it reports itself as a histogram.
 */
export class Durations extends Gauge<Label> {
  readonly #named: Histogram;
  readonly #series: { readonly labels: Labels; readonly buckets: Buckets }[] = [];

  constructor({ registry, ...named }: DurationsOptions) {
    super({ ...named, labelNames: ['kind', 'cache'], registers: [registry] });
    this.#named = new Histogram({ ...named, buckets: [...secondsOfBuckets], registers: [] });
  }

  /** Adds a series. */
  add(labels: Labels, buckets: Buckets): void {
    this.#series.push({ labels, buckets });
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
