import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { digestOf } from '../../src/oci/digest.ts';
import { ociManifest } from '../../src/oci/media-types.ts';
import { randomBlob } from '../../test/support/images.ts';
import { readBlob } from '../clients/blob-reader.ts';
import { costOf, residentBytes } from '../measure.ts';
import type { Stage } from '../scenarios/stage.ts';
import type { Bound } from './bound.ts';
import { type PairOfServers, startPair } from './upstream.ts';

const mebibyte = 1024 ** 2;
const budget = { download: { bufferBudget: '64MiB' } };
/** The memory budget plus what a busy process needs besides: V8's heap, sockets, the index. */
const limitMiB = 160;
/** Likewise, plus the caches of manifests and tag listings in memory, which may take three quarters of the budget besides it. */
const limitWithCachesMiB = limitMiB + 48;
const settlesWithinMs = 2_000;

const downloads = 60;
const downloadBytes = 16 * mebibyte;
const slowBytesPerSecond = 256 * 1024;
const slowForMs = 8_000;

/** Pulls sixty cold blobs at once, each by a client that reads 256 KiB per second. */
export async function measureSlowDownloads(stage: Stage): Promise<readonly Bound[]> {
  await using pair = await startPair(stage.site('slow-downloads'), budget);
  const blobs = Array.from({ length: downloads }, (_, index) => randomBlob(downloadBytes, `slow ${index}`));
  for (const blob of blobs) pair.registry.content.addBlob('bench/slow', blob);
  const gainedMiB = await memoryGained(pair, async () => {
    const over = AbortSignal.timeout(slowForMs);
    const pace = { bytesPerSecond: slowBytesPerSecond, until: over };
    const reads = blobs.map(({ digest }) =>
      readBlob({
        url: `${pair.layerwell.url}/v2/bench/slow/blobs/${digest}`,
        times: 1,
        buffer: Buffer.alloc(64 * 1024),
        onBody: () => undefined,
        pace,
      }),
    );
    await Promise.all(reads);
  });
  return [
    {
      what: `${downloads} downloads of 16 MiB with slow clients, budget 64 MiB: memory gained, MiB`,
      measured: gainedMiB,
      limit: limitMiB,
    },
  ];
}

const connections = 400;
const manifests = 40;
const manifestBytes = 4_000_000;
const unreadForMs = 10_000;

/** Four hundred connections request forty manifests of 4 MB and read nothing. */
export async function measureUnreadManifests(stage: Stage): Promise<readonly Bound[]> {
  await using pair = await startPair(stage.site('unread-manifests'), budget);
  const digests = Array.from({ length: manifests }, (_, index) => addLargeManifest(pair, index));
  const sockets: Socket[] = [];
  const gainedMiB = await memoryGained(pair, async () => {
    for (let index = 0; index < connections; index += 1)
      sockets.push(askUnread(pair.layerwell.url, `/v2/bench/large/manifests/${digests[index % manifests]}`));
    await delay(unreadForMs, undefined, { signal: stage.signal });
  });
  for (const socket of sockets) socket.destroy();
  const what = `${connections} unread manifests of 4 MB, budget 64 MiB: memory gained, MiB`;
  return [{ what, measured: gainedMiB, limit: limitWithCachesMiB }];
}

/** The peak growth of the mirror's memory while `action` runs. */
async function memoryGained({ layerwell }: PairOfServers, action: () => Promise<void>): Promise<number> {
  await delay(settlesWithinMs);
  const idleBytes = await residentBytes(layerwell.pid);
  const { peakBytes } = await costOf(layerwell.pid, action);
  return (peakBytes - idleBytes) / mebibyte;
}

/** Adds a valid manifest with one large annotation. @returns its digest. */
function addLargeManifest({ registry }: PairOfServers, index: number): string {
  const config = { mediaType: 'application/vnd.oci.empty.v1+json', digest: digestOf(Buffer.from('{}')), size: 2 };
  const annotations = { filling: `${index} `.padEnd(manifestBytes, 'x') };
  const manifest = { schemaVersion: 2, mediaType: ociManifest, config, layers: [config], annotations };
  const bytes = Buffer.from(JSON.stringify(manifest));
  const digest = digestOf(bytes);
  registry.content.addManifest('bench/large', { digest, mediaType: ociManifest, bytes });
  return digest;
}

function askUnread(url: string, path: string): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) }).on('error', () => {}); // The mirror may cut it, because it reads nothing.
  socket.pause();
  socket.write(`GET ${path} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
  return socket;
}
