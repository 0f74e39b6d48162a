import { pino } from 'pino';
import { Registry } from 'prom-client';
import { createMetrics } from '../src/telemetry/metrics.ts';

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
  metrics.readFrom({
    memory: { maxBytes: 0, reservedBytes: 0, waiting: 0 },
    maxBytes: 0,
    maxFiles: 0,
    use: async () => ({ bytes: 0, files: 0 }),
    totals: async () => ({ bytes: 0, manifests: 0, blobs: 0 }),
    freeBytes: async () => 0,
    pendingBytes: () => 0,
    droppedLogLines: () => 0,
    uploadsQueued: () => 0,
    swept: () => undefined,
  });
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
