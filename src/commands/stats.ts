import {
  cacheWords,
  type Stats,
  stats as statsSchema,
  type Upstreams,
  upstreams as upstreamsSchema,
} from '../http/management/api/schemas.ts';
import { ApiFailure, apiOf, exitCodeOf, exitCodes, type MirrorChoice, type Output } from './api/client.ts';
import { alignedLines, bytesText, countText, shareText } from './api/table.ts';

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
    const [served, upstreams] = await Promise.all([api('stats'), api('upstreams')]);
    if (json) return print(`${JSON.stringify({ stats: served, upstreams: itemsOf(upstreams) }, null, 2)}\n`);
    const [known, knownUpstreams] = [statsSchema.safeParse(served), upstreamsSchema.safeParse(upstreams)];
    if (!known.success || !knownUpstreams.success) {
      throw new ApiFailure(exitCodes.failed, 'the mirror is of another version than this command; try --json');
    }
    print(statsText(known.data, knownUpstreams.data));
  }, options);
}

function itemsOf(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'items' in value ? value.items : value;
}

/** The tables, separated by empty lines. Pure. */
export function statsText(served: Stats, { items }: Upstreams): string {
  return [
    `since ${served.startedAt}\n`,
    alignedLines(requestRows(served)),
    alignedLines(summaryRows(served)),
    alignedLines([
      ['UPSTREAM', 'STATE', 'REQUESTS', 'RECEIVED', 'PULLS LEFT', 'LAST FAILURE'],
      ...items.map(upstreamRow),
    ]),
  ].join('\n');
}

function requestRows({ requests }: Stats): readonly (readonly string[])[] {
  const words = cacheWords.filter((word) => word !== 'none' && requests.byCache[word] !== undefined);
  const rows = words.map((word) => {
    const { answers = 0, bytes = 0 } = requests.byCache[word] ?? {};
    return [word, countText(answers), shareText(answers, requests.total), bytesText(bytes)];
  });
  return [['ANSWERS', 'REQUESTS', 'SHARE', 'BYTES'], ...rows, ['all', countText(requests.total)]];
}

function summaryRows({ requests, bytes, upstreamRequests, storage }: Stats): readonly (readonly string[])[] {
  const { usedBytes, maxBytes, files, maxFiles, freeBytes, blobs, manifests, quarantinedFiles } = storage;
  return [
    ['hit ratio', shareText(requests.hitRatio, 1)],
    ['served', bytesText(bytes.served)],
    ['from upstreams', bytesText(bytes.fromUpstream)],
    ['upstream requests', countText(upstreamRequests)],
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
