import type { ContenderName } from './contenders/contender.ts';
import type { ScenarioName } from './options.ts';

/** `cold-50` is measured three times: with clients that discard the bytes, with clients that hash them, and with slow and leaving clients among those. */
export type MeasurementName = ScenarioName | 'cold-50-hashed' | 'cold-50-odd';

/** The result of one run of one measurement on one server. */
export interface Sample {
  readonly measurement: MeasurementName;
  readonly contender: ContenderName;
  /** How long the clients waited. For `idle`: how long the server took to become ready. */
  readonly seconds: number;
  /** Of the server with its children. */
  readonly cpuSeconds?: number;
  /** Peak memory. For `idle`: memory two seconds after the start. */
  readonly memoryBytes: number;
  /** How many blobs were pulled, for measurements whose CPU is compared by blob. */
  readonly blobs?: number;
  /** Only for measurements that count requests per second. */
  readonly requests?: number;
  /** GETs of the blob that reached the upstream. */
  readonly upstreamGets?: number;
  /** One value per client. */
  readonly firstByteMs?: readonly number[];
}

/** All runs of one measurement on one server. */
export interface Summary {
  readonly measurement: MeasurementName;
  readonly contender: ContenderName;
  readonly runs: number;
  readonly seconds: Spread;
  readonly requestsPerSecond: Spread | undefined;
  /** Per run, or per request for measurements that count requests. */
  readonly cpuSeconds: Spread | undefined;
  /** For each blob that was pulled. */
  readonly cpuSecondsPerBlob: Spread | undefined;
  readonly memoryBytes: Spread;
  readonly upstreamGets: Spread | undefined;
  readonly firstByteMs: Spread | undefined;
}

export interface Spread {
  readonly least: number;
  readonly median: number;
  readonly most: number;
}

/** Groups samples by measurement and server, in order of first appearance. */
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
    cpuSecondsPerBlob: spreadOf(
      group.flatMap(({ cpuSeconds, blobs }) =>
        cpuSeconds === undefined || blobs === undefined ? [] : [cpuSeconds / blobs],
      ),
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
