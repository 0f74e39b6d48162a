import { pino } from 'pino';
import { Registry } from 'prom-client';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { noReadings } from '../test/support/no-readings.ts';

/** The table of docs/metrics.md: every `layerwell_` metric with its type, labels and help text. */
export async function metricsReference(): Promise<string> {
  const rows = (await ownMetrics()).map(({ name, type, labels, help }) => {
    const named = labels.map((label) => `\`${label}\``).join(', ');
    return `| \`${name}\` | ${type} | ${named} | ${help.replaceAll('|', '\\|')} |`;
  });
  return ['| metric | type | labels | description |', '| --- | --- | --- | --- |', ...rows, ''].join('\n');
}

interface MetricDescription {
  readonly name: string;
  readonly type: string;
  readonly labels: readonly string[];
  readonly help: string;
}

async function ownMetrics(): Promise<readonly MetricDescription[]> {
  const registry = new Registry();
  const metrics = createMetrics({ registry, version: '', nodeVersion: '', log: { logger: pino({ enabled: false }) } });
  metrics.readFrom(noReadings);
  const types = new Map((await registry.getMetricsAsJSON()).map(({ name, type }) => [name, String(type)]));
  return registry
    .getMetricsAsArray()
    .filter(({ name }) => name.startsWith('layerwell_'))
    .map((metric) => ({
      name: metric.name,
      type: types.get(metric.name) ?? '',
      labels: labelsOf(metric),
      help: metric.help,
    }))
    .toSorted((one, other) => one.name.localeCompare(other.name));
}

/** prom-client's types lack `labelNames`. */
function labelsOf(metric: object): readonly string[] {
  return 'labelNames' in metric && Array.isArray(metric.labelNames) ? metric.labelNames.map(String) : [];
}
