import { Gauge, Histogram, type Registry } from 'prom-client';
import { type Buckets, secondsOfBuckets } from './buckets.ts';

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
 * A histogram of answers whose buckets are counted elsewhere, and read when somebody scrapes: one of prom-client's costs 1 µs with every value.
 * To the registry it is any metric that can be read; what it says of itself is what a histogram says.
 */
export class Durations extends Gauge<Label> {
  readonly #named: Histogram;
  readonly #series: { readonly labels: Labels; readonly buckets: Buckets }[] = [];

  constructor({ registry, ...named }: DurationsOptions) {
    super({ ...named, labelNames: ['kind', 'cache'], registers: [registry] });
    this.#named = new Histogram({ ...named, buckets: [...secondsOfBuckets], registers: [] });
  }

  /** From now on it tells of these as well. */
  tellOf(labels: Labels, buckets: Buckets): void {
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
