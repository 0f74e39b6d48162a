/** One line of a graph, or one value. */
export interface Query {
  readonly expr: string;
  readonly legend: string;
}

export interface Panel {
  readonly title: string;
  readonly kind: 'stat' | 'graph' | 'table';
  /** As Grafana names it. */
  readonly unit: string;
  readonly queries: readonly Query[];
  /** What a reader should know of it. */
  readonly description?: string;
  /** Above this value it is red; below the first of two values, too. */
  readonly redAbove?: number;
  readonly redBelow?: number;
}

export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

/** The series of the chosen jobs and replicas. */
const chosen = 'job=~"$job", instance=~"$instance"';
const window = '$__rate_interval';

/** A metric of the chosen replicas, with further matchers. */
export function of(metric: string, ...matchers: readonly string[]): string {
  return `${metric}{${[chosen, ...matchers].join(', ')}}`;
}

export function rateOf(metric: string, ...matchers: readonly string[]): string {
  return `rate(${of(metric, ...matchers)}[${window}])`;
}

/** How much a counter grew in the whole time that is shown. */
export function increaseOf(metric: string, ...matchers: readonly string[]): string {
  return `increase(${of(metric, ...matchers)}[$__range])`;
}

export function sumBy(labels: string, expr: string): string {
  return labels === '' ? `sum(${expr})` : `sum by (${labels}) (${expr})`;
}

export function quantileOf(quantile: number, histogram: string, ...matchers: readonly string[]): string {
  return `histogram_quantile(${quantile}, ${sumBy('le', rateOf(`${histogram}_bucket`, ...matchers))})`;
}

type Options = Partial<Pick<Panel, 'description' | 'redAbove' | 'redBelow'>>;

export function stat(title: string, unit: string, expr: string, options: Options = {}): Panel {
  return { title, unit, kind: 'stat', queries: [{ expr, legend: '' }], ...options };
}

export function graph(title: string, unit: string, queries: readonly Query[], options: Options = {}): Panel {
  return { title, unit, kind: 'graph', queries, ...options };
}

export function table(title: string, unit: string, expr: string, options: Options = {}): Panel {
  return { title, unit, kind: 'table', queries: [{ expr, legend: '' }], ...options };
}
