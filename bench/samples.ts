import type { ContenderName } from './contenders/contender.ts';
import type { ScenarioName } from './options.ts';

/** `cold-50` is measured three times: by clients that throw the bytes away, by clients that hash them, and with odd ones among those. */
export type MeasurementName = ScenarioName | 'cold-50-hashed' | 'cold-50-odd';

/** What one run of one measurement on one server told. */
export interface Sample {
  readonly measurement: MeasurementName;
  readonly contender: ContenderName;
  /** How long the clients waited; of `idle`, how long the server took to get ready. */
  readonly seconds: number;
  /** Of the server with its children. */
  readonly cpuSeconds?: number;
  /** Of `idle`, what it held after a while; else the most it held meanwhile. */
  readonly memoryBytes: number;
  /** Only where requests are counted instead of timed. */
  readonly requests?: number;
  /** GETs of the blob that reached the upstream. */
  readonly upstreamGets?: number;
  /** For each client. */
  readonly firstByteMs?: readonly number[];
}

/** All runs of one measurement on one server. */
export interface Summary {
  readonly measurement: MeasurementName;
  readonly contender: ContenderName;
  readonly runs: number;
  readonly seconds: Spread;
  readonly requestsPerSecond: Spread | undefined;
  /** For one run, or where requests are counted, for one request. */
  readonly cpuSeconds: Spread | undefined;
  readonly memoryBytes: Spread;
  readonly upstreamGets: Spread | undefined;
  readonly firstByteMs: Spread | undefined;
}

export interface Spread {
  readonly least: number;
  readonly median: number;
  readonly most: number;
}

/** Groups samples by measurement and server, in the order in which they first appear. */
export function summarise(samples: readonly Sample[]): readonly Summary[] {
  const groups = Map.groupBy(samples, (sample) => `${sample.measurement} ${sample.contender}`);
  return [...groups.values()].flatMap((group) => (group[0] ? [summaryOf(group[0], group)] : []));
}

function summaryOf({ measurement, contender }: Sample, group: readonly Sample[]): Summary {
  return {
    measurement,
    contender,
    runs: group.length,
    seconds: spreadOf(group.map((sample) => sample.seconds)) ?? nothing,
    requestsPerSecond: spreadOf(
      group.flatMap(({ requests, seconds }) => (requests === undefined ? [] : [requests / seconds])),
    ),
    cpuSeconds: spreadOf(
      group.flatMap(({ cpuSeconds, requests }) => (cpuSeconds === undefined ? [] : [cpuSeconds / (requests ?? 1)])),
    ),
    memoryBytes: spreadOf(group.map((sample) => sample.memoryBytes)) ?? nothing,
    upstreamGets: spreadOf(group.flatMap(({ upstreamGets }) => (upstreamGets === undefined ? [] : [upstreamGets]))),
    firstByteMs: spreadOf(group.flatMap(({ firstByteMs }) => firstByteMs ?? [])),
  };
}

const nothing: Spread = { least: Number.NaN, median: Number.NaN, most: Number.NaN };

function spreadOf(values: readonly number[]): Spread | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const [least, most] = [sorted[0], sorted.at(-1)];
  const [below, above] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  if (least === undefined || most === undefined || below === undefined || above === undefined) return undefined;
  return { least, median: (below + above) / 2, most };
}
