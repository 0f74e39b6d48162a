import {
  cacheWords,
  type Stats,
  stats as statsSchema,
  type Upstreams,
  upstreams as upstreamsSchema,
} from '../http/management/api/schemas.ts';
import { type Minutes, minutes as minutesSchema } from '../http/management/api/minutes-routes.ts';
import { answerAs, apiOf, exitCodeOf, type MirrorChoice, type Output, tryJson } from './api/client.ts';
import { type Column, columnsOf, sparkline } from './api/sparkline.ts';
import { bytesText, countText } from '../http/management/pages/drawing/words.ts';
import { alignedLines, shareText } from './api/table.ts';

export interface StatsOptions extends MirrorChoice, Output {
  readonly json: boolean;
}

/**
 * Prints what the running mirror has served since it started, its upstreams, and the use of its disk.
 * @returns the exit code: see exitCodes.
 * @throws ConfigError when the configuration does not say where the mirror is.
 */
export function stats(options: StatsOptions): Promise<number> {
  const { json, print } = options;
  return exitCodeOf(async () => {
    const api = await apiOf(options);
    const [served, minutes, upstreams] = await Promise.all([api('stats'), api('stats/minutes'), api('upstreams')]);
    if (json) {
      const all = { stats: served, minutes: itemsOf(minutes), upstreams: itemsOf(upstreams) };
      return print(`${JSON.stringify(all, null, 2)}\n`);
    }
    const known = {
      served: answerAs(statsSchema, served, tryJson),
      minutes: answerAs(minutesSchema, minutes, tryJson),
      upstreams: answerAs(upstreamsSchema, upstreams, tryJson),
    };
    print(statsText(known));
  }, options);
}

function itemsOf(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'items' in value ? value.items : value;
}

export interface MirrorNumbers {
  readonly served: Stats;
  readonly minutes: Minutes;
  readonly upstreams: Upstreams;
}

/** The tables, separated by empty lines. Pure. */
export function statsText({ served, minutes, upstreams }: MirrorNumbers): string {
  return [
    `since ${served.startedAt}\n`,
    alignedLines(requestRows(served)),
    alignedLines(summaryRows(served)),
    alignedLines(dayRows(minutes)),
    ...(served.top.repositories.length > 0 ? [alignedLines(topRows(served))] : []),
    alignedLines([
      ['UPSTREAM', 'STATE', 'REQUESTS', 'RECEIVED', 'PULLS LEFT', 'LAST FAILURE'],
      ...upstreams.items.map(upstreamRow),
    ]),
  ].join('\n');
}

/** Half an hour each. */
const columnsOfDay = 48;

/** The last 24 hours as sparklines. The end is the clock of the mirror, which need not be that of this machine. */
function dayRows(minutes: Minutes): readonly (readonly string[])[] {
  const endMs = Date.parse(minutes.items.at(-1)?.at ?? '');
  const day = columnsOf(minutes, { endMs, columns: columnsOfDay });
  const valuesOf = (value: (column: Column) => number | undefined) => day.map((column) => column && value(column));
  const largest = (values: readonly (number | undefined)[]) => Math.max(0, ...values.map((value) => value ?? 0));
  const requests = valuesOf((column) => column.requests);
  const ratio = valuesOf((column) => (column.requests === 0 ? undefined : column.hits / column.requests));
  const bytes = valuesOf((column) => column.bytes);
  return [
    ['LAST 24 HOURS', '', 'MOST IN 30 MIN'],
    ['requests', sparkline(requests), countText(largest(requests))],
    ['hit ratio', sparkline(ratio, 1), shareText(largest(ratio), 1)],
    ['served', sparkline(bytes), bytesText(largest(bytes))],
  ];
}

const mostRepositories = 10;

/** By bytes, as the mirror tells them. */
function topRows({ top, bytes, requests }: Stats): readonly (readonly string[])[] {
  const rest = top.repositories.slice(mostRepositories);
  const other = [...rest, top.other];
  const row = (name: string, one: { readonly requests: number; readonly bytes: number }) => [
    name,
    countText(one.requests),
    shareText(one.requests, requests.total),
    bytesText(one.bytes),
    shareText(one.bytes, bytes.served),
  ];
  return [
    ['REPOSITORY', 'REQUESTS', 'SHARE', 'BYTES', 'SHARE'],
    ...top.repositories.slice(0, mostRepositories).map((one) => row(one.name, one)),
    row('other', { requests: sumOf(other.map((one) => one.requests)), bytes: sumOf(other.map((one) => one.bytes)) }),
  ];
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/** The share of the bytes that no upstream had to send for them. */
function hitRatioOfBytes({ requests, bytes }: Stats): string {
  const { hit, revalidated, stale } = requests.byCache;
  return shareText(sumOf([hit, revalidated, stale].map((answers) => answers?.bytes ?? 0)), bytes.served);
}

function requestRows({ requests }: Stats): readonly (readonly string[])[] {
  const words = cacheWords.filter((word) => word !== 'none' && requests.byCache[word] !== undefined);
  const rows = words.map((word) => {
    const { answers = 0, bytes = 0 } = requests.byCache[word] ?? {};
    return [word, countText(answers), shareText(answers, requests.total), bytesText(bytes)];
  });
  return [['ANSWERS', 'REQUESTS', 'SHARE', 'BYTES'], ...rows, ['all', countText(requests.total)]];
}

function summaryRows(served: Stats): readonly (readonly string[])[] {
  const { requests, bytes, upstreamRequests, storage } = served;
  const { usedBytes, maxBytes, files, maxFiles, freeBytes, blobs, manifests, quarantinedFiles } = storage;
  return [
    ['hit ratio', shareText(requests.hitRatio, 1)],
    ['hit ratio of bytes', hitRatioOfBytes(served)],
    ['served', bytesText(bytes.served)],
    ['from upstreams', bytesText(bytes.fromUpstream)],
    ['upstream requests', countText(upstreamRequests)],
    ['requests saved', countText(Math.max(0, requests.total - upstreamRequests))],
    ['saved', `${bytesText(bytes.saved)} (${shareText(bytes.saved, bytes.served)})`],
    ['disk', `${bytesText(usedBytes)} of ${bytesText(maxBytes)} (${shareText(usedBytes, maxBytes)})`],
    ['disk free', bytesText(freeBytes)],
    ['files', `${countText(files)} of ${countText(maxFiles)} (${shareText(files, maxFiles)})`],
    ['manifests', countText(manifests)],
    ['blobs', countText(blobs)],
    ...(quarantinedFiles > 0 ? [['quarantine', `${countText(quarantinedFiles)} damaged files`]] : []),
    ...(storage.isIndexComplete ? [] : [['index', 'is being rebuilt: numbers of content may be too low']]),
  ];
}

function upstreamRow(upstream: Upstreams['items'][number]): readonly string[] {
  const { name, state, reason, circuits, requests, bytes, rateLimits, lastFailure } = upstream;
  const notClosed = circuits.filter((circuit) => circuit.state !== 'closed').map((one) => `circuit ${one.state}`);
  const states = [reason === undefined ? state : `${state} (${reason})`, ...new Set(notClosed)];
  const left = rateLimits.map(({ account, limit, remaining }) => `${account}: ${remaining} of ${limit}`);
  return [
    name,
    states.join(', '),
    countText(requests),
    bytesText(bytes),
    left.join(', ') || '-',
    lastFailure ? `${lastFailure.reason} at ${lastFailure.at}` : '-',
  ];
}
