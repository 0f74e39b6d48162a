import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathOf } from '../clients/paths.ts';
import type { Dice } from '../dice.ts';
import type { MirrorProcess } from '../mirror-process.ts';
import { movingTag, type PublishedImage } from '../world.ts';
import type { HostileTurn } from './hostile-clients.ts';

const pipelinedRequests = 4_100;
const unreadMs = 3_000;

/** Opens a TCP connection to the mirror. Its errors are ignored. */
export function openRaw({ port }: Pick<MirrorProcess, 'port'>): Socket {
  return connect({ port, host: '127.0.0.1' }).on('error', () => {});
}

/** Sends one request, and resets the connection after a moment or after a few pieces of the response. */
export async function resetMidway({ world, mirror, dice, ledger }: HostileTurn): Promise<void> {
  const image = dice.pick(world.filter(({ kind }) => kind === 'ordinary' || kind === 'healthy'));
  const socket = openFor(mirror);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.write(requestText(dice.pick(['GET', 'GET', 'HEAD']), anyPath(image, dice)));
  const afterMs = dice.between(0, 30);
  let piecesLeft = dice.below(4);
  socket.on('data', () => {
    piecesLeft -= 1;
    if (piecesLeft === 0) socket.resetAndDestroy();
  });
  await Promise.race([sleep(afterMs), closed]);
  socket.resetAndDestroy();
  ledger.count('faults', 'client: reset');
}

/** Sends thousands of requests on one connection and reads no response. */
export async function pipelineUnread({ world, mirror, dice, ledger, signal }: HostileTurn): Promise<void> {
  const pinned = dice.pick(world.filter(({ kind }) => kind === 'pinned'));
  const blob = dice.pick(pinned.image.blobs);
  const socket = openFor(mirror);
  socket.pause();
  socket.write(requestText('GET', pathOf(pinned, `blobs/${blob.digest}`)).repeat(pipelinedRequests));
  ledger.count('faults', 'client: unread pipeline');
  await pass(unreadMs, signal);
  socket.resetAndDestroy();
}

/** Waits for `ms`, or until the signal aborts. */
export async function pass(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {}); // The caller checks the signal.
}

function openFor(mirror: MirrorProcess): Socket {
  if (!mirror.origin.startsWith('https:')) return openRaw(mirror);
  return connectTls({ port: mirror.port, host: '127.0.0.1', rejectUnauthorized: false }).on('error', () => {});
}

function anyPath(image: PublishedImage, dice: Dice): string {
  const { manifest, blobs } = image.image;
  return dice.pick([
    '/v2/',
    '/v2/_catalog?n=50',
    pathOf(image, `manifests/${movingTag}`),
    pathOf(image, `manifests/${image.tag}`),
    pathOf(image, `manifests/${manifest.digest}`),
    pathOf(image, `blobs/${dice.pick(blobs).digest}`),
    pathOf(image, 'tags/list'),
    pathOf(image, `referrers/${manifest.digest}`),
  ]);
}

function requestText(method: string, path: string): string {
  return `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`;
}
