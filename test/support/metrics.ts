/** One scrape of `/metrics`. */
export interface Metrics {
  /** The sum over every series of that name with at least these labels; 0 where there is none. */
  sum(name: string, labels?: Readonly<Record<string, string>>): number;
}

/** Reads Prometheus' text format: one series on a line, its labels in braces. */
export function parseMetrics(text: string): Metrics {
  const series = text.split('\n').flatMap((line) => {
    const [, name, labels = '', value] = /^([a-z_:][\w:]*)(?:\{(.*)\})? (\S+)$/i.exec(line) ?? [];
    return name === undefined ? [] : [{ name, labels: labelsOf(labels), value: Number(value) }];
  });
  return {
    sum: (name, wanted = {}) =>
      series
        .filter(
          (one) => one.name === name && Object.entries(wanted).every(([key, value]) => one.labels.get(key) === value),
        )
        .reduce((total, { value }) => total + value, 0),
  };
}

function labelsOf(text: string): ReadonlyMap<string, string> {
  return new Map([...text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = '', value = '']) => [key, value]));
}
