import type { Bound } from './bounds/bound.ts';
import type { ContenderName } from './contenders/contender.ts';
import type { MeasurementName, Summary } from './samples.ts';
import { cpuRatioTo, ratioTo } from './table.ts';

/** One of Layerwell's targets, and whether it was met. */
export interface Verdict {
  readonly target: string;
  readonly measured: number;
  readonly isMet: boolean;
}

/** One verdict for each target that was measured. */
export function verdictsOn(summaries: readonly Summary[]): readonly Verdict[] {
  const find = (measurement: MeasurementName, contender: ContenderName = 'Layerwell') =>
    summaries.find((summary) => summary.measurement === measurement && summary.contender === contender);
  const toProxy = (measurement: MeasurementName, ratio: typeof ratioTo) => {
    const own = find(measurement);
    return own && ratio(find(measurement, 'distribution proxy'), own);
  };
  const toKoa = (measurement: MeasurementName) => {
    const own = find(measurement);
    return own && ratioTo(find(measurement, 'bare Koa'), own);
  };
  const many = [find('cold-50'), find('cold-50-hashed'), find('cold-50-odd')].flatMap((summary) => summary ?? []);
  const most = (values: readonly number[]) => (values.length > 0 ? Math.max(...values) : undefined);
  const perBlob = (measurement: MeasurementName) => find(measurement)?.cpuSecondsPerBlob?.median;
  const warmBlobCpu = perBlob('warm-blob');
  const toFewClients = (measurement: MeasurementName) => {
    const cpu = perBlob(measurement);
    return cpu && warmBlobCpu && cpu / warmBlobCpu;
  };
  const toNginx = (measurement: MeasurementName) => {
    const own = find(measurement);
    return own && cpuRatioTo(find(measurement, 'nginx'), own);
  };
  const idle = find('idle');
  const [first, upstreamsFirst] = [find('cold-50')?.firstByteMs, find('cold-50', 'upstream')?.firstByteMs];
  const behindMs = first && upstreamsFirst && first.median - upstreamsFirst.median;
  const [odd, hashed] = [find('cold-50-odd'), find('cold-50-hashed')];
  const oddRatio = odd && hashed && ratioTo(hashed, odd);
  return [
    atMost('warm blob: time, × distribution proxy', toProxy('warm-blob', ratioTo), 0.85),
    atMost('warm blob: server CPU, × distribution proxy', toProxy('warm-blob', cpuRatioTo), 0.85),
    atMost('warm blob, 10 clients: server CPU for each, × that with 2 clients', toFewClients('warm-blob-10'), 1.15),
    atMost('warm blob, 30 clients: server CPU for each, × that with 2 clients', toFewClients('warm-blob-30'), 1.15),
    ...coldVerdicts(toFewClients),
    atMost('warm blob by HTTPS, 2 clients: server CPU, × nginx', toNginx('warm-blob-tls'), 1),
    atMost('warm blob by HTTPS, 10 clients: server CPU, × nginx', toNginx('warm-blob-tls-10'), 1),
    atLeast('warm blob of 4 KiB: requests/s, × bare Koa', toKoa('small-blob'), 0.6),
    atLeast('warm manifest by tag: requests/s, × bare Koa', toKoa('warm-manifest-tag'), 0.75),
    atLeast('warm manifest by digest: requests/s, × bare Koa', toKoa('warm-manifest-digest'), 0.75),
    atMost('cold blob, 1 client: time, × distribution proxy', toProxy('cold-1', ratioTo), 0.8),
    atMost('cold blob, 1 client: server CPU, × distribution proxy', toProxy('cold-1', cpuRatioTo), 0.8),
    atMost('cold blob, 10 clients: time, × distribution proxy', toProxy('cold-10', ratioTo), 0.65),
    atMost('cold blob, 10 clients: upstream GETs', find('cold-10')?.upstreamGets?.most, 1),
    atMost(
      'cold blob, 50 clients: upstream GETs',
      most(many.flatMap(({ upstreamGets }) => upstreamGets?.most ?? [])),
      1,
    ),
    atMost(
      'cold blob, 50 clients: peak memory, MiB',
      most(many.map(({ memoryBytes }) => memoryBytes.most / 1024 ** 2)),
      200,
    ),
    atMost('cold blob, 50 clients: first byte, ms behind the upstream', behindMs, 100),
    atMost('cold blob, 1 slow and 10 hang up: time of the others, × that of 50', oddRatio, 1),
    atMost('idle memory, MiB', idle && idle.memoryBytes.median / 1024 ** 2, 130),
    atMost('ready after, s', idle?.seconds.median, 1),
  ].flatMap((verdict) => verdict ?? []);
}

/** @param toFewClients the CPU for each blob, against that of a warm blob with 2 clients. */
function coldVerdicts(
  toFewClients: (measurement: MeasurementName) => number | undefined,
): readonly (Verdict | undefined)[] {
  const many = { 'cold-10': '10 clients', 'cold-50': '50 clients', 'cold-50-hashed': '50 clients that hash' } as const;
  const names = ['cold-10', 'cold-50', 'cold-50-hashed'] as const;
  const what = 'server CPU for each, × that of a warm blob with 2 clients';
  return names.map((name) => atMost(`cold blob, ${many[name]}: ${what}`, toFewClients(name), 1.4));
}

export function verdictOn({ what, measured, limit }: Bound): Verdict {
  return { target: `${what} ≤ ${limit}`, measured, isMet: measured <= limit };
}

function atMost(what: string, measured: number | undefined, limit: number): Verdict | undefined {
  return measured === undefined ? undefined : verdictOn({ what, measured, limit });
}

function atLeast(what: string, measured: number | undefined, limit: number): Verdict | undefined {
  return measured === undefined ? undefined : { target: `${what} ≥ ${limit}`, measured, isMet: measured >= limit };
}
