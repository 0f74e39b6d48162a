import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Digest, digestFrom } from '../../../src/oci/digest.ts';
import { namedBy } from '../../../src/oci/manifest.ts';
import { absoluteMs } from './absolute-time.ts';
import { inTurn } from './tcp-proxy.ts';

/** What one client saw of a blob. */
export interface BlobSeen {
  readonly digest: Digest;
  readonly bytes: number;
  /** By {@link absoluteMs}. */
  readonly askedAtMs: number;
  readonly firstByteAtMs: number;
  readonly endedAtMs: number;
  /** The longest time without a byte, after the first one. */
  readonly longestPauseMs: number;
  /** Connections that were cut. */
  readonly cuts: number;
}

/** A pull that is running. */
export interface RunningPull {
  /** Resolves when the server has the requests for all blobs: it is not measured how fast clients connect. */
  readonly asked: Promise<void>;
  /** Of the largest blob, so far. */
  readonly receivedBytes: number;
  /** @throws when an answer is an error, or the bytes are not what their digest names. */
  readonly done: Promise<BlobSeen>;
}

export interface PullOptions {
  readonly url: string;
  readonly repository: string;
  readonly tag: string;
}

/** As long as a client's reconnects may be refused, for a balancer that has not noticed yet. */
const maxCuts = 20;

/**
 * Pulls an image by tag as a container engine does: the manifest, then all its blobs at once, each verified. A connection that is cut is
 * opened again, for the rest of the blob.
 */
export function pullByTag(options: PullOptions): RunningPull {
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  const pull = { asked, receivedBytes: 0 };
  const onBytes = (bytes: number): void => {
    pull.receivedBytes = Math.max(pull.receivedBytes, bytes);
  };
  const done = pullAllOf(options, { onAsked: resolve, onBytes });
  done.catch(() => resolve()); // Awaited by the caller.
  return Object.assign(pull, { done });
}

interface Told {
  /** The server has read the request, or has ended it. */
  readonly onAsked: () => void;
  readonly onBytes: (received: number) => void;
}

/** @returns what was seen of the largest blob; with the cuts of all requests. */
async function pullAllOf({ url, repository, tag }: PullOptions, told: Told): Promise<BlobSeen> {
  const { bytes: manifest, cuts } = await manifestOf(url, `/v2/${repository}/manifests/${tag}`);
  const named = namedBy(manifest);
  let asked = 0;
  const onAsked = (): void => {
    asked += 1;
    if (asked === named.length) told.onAsked();
  };
  const pulls = named.map(({ digest }) =>
    pullBlob(url, `/v2/${repository}/blobs/${digest}`, digest, { ...told, onAsked }),
  );
  const all = await Promise.all(pulls);
  const [largest] = all.toSorted((a, b) => b.bytes - a.bytes);
  if (!largest) throw new Error('the manifest names no blob');
  return { ...largest, cuts: all.reduce((sum, one) => sum + one.cuts, cuts) };
}

async function manifestOf(url: string, path: string): Promise<{ readonly bytes: Buffer; readonly cuts: number }> {
  for (let cuts = 0; ; cuts += 1) {
    try {
      // On a connection of its own: an idle one may be closed while it is asked on, which Go's clients repeat by themselves.
      const asked = request(`${url}${path}`, { agent: false });
      asked.end();
      const response = await responseOf(asked);
      if (!response) throw new Error(`${path}: no answer`);
      const bytes = await bytesOf(response);
      if (!response.complete) throw new Error(`${path} was cut after ${bytes.length} bytes`);
      const { statusCode, headers } = response;
      const named = headers['docker-content-digest'];
      if (statusCode !== 200) throw new WrongAnswer(`${path}: ${statusCode} ${bytes.toString()}`);
      const digest = digestFrom(createHash('sha256').update(bytes), 'sha256');
      if (digest !== named) throw new WrongAnswer(`${path}: wrong bytes ${digest}`);
      return { bytes, cuts };
    } catch (cause) {
      if (cause instanceof WrongAnswer || cuts >= maxCuts) throw cause;
      await sleep(20);
    }
  }
}

/** What no client would ask for again. */
class WrongAnswer extends Error {}

/** @throws likewise. */
export async function pullBlob(
  url: string,
  path: string,
  digest: Digest,
  { onBytes, onAsked }: Pick<Told, 'onBytes'> & Partial<Told>,
): Promise<BlobSeen> {
  const hash = createHash('sha256');
  const askedAtMs = absoluteMs();
  let [bytes, cuts, firstByteAtMs, lastByteAtMs, longestPauseMs] = [0, 0, Number.NaN, Number.NaN, 0];
  const take = (piece: Buffer): void => {
    const now = absoluteMs();
    if (bytes === 0) firstByteAtMs = now;
    else longestPauseMs = Math.max(longestPauseMs, now - lastByteAtMs);
    lastByteAtMs = now;
    hash.update(piece);
    bytes += piece.length;
    onBytes(bytes);
  };
  while (!(await readOnce({ url: `${url}${path}`, from: bytes, take, onAsked: cuts === 0 ? onAsked : undefined }))) {
    cuts += 1;
    if (cuts > maxCuts) throw new Error(`${path} was cut ${cuts} times, last after ${bytes} bytes`);
    await sleep(20);
  }
  const got = digestFrom(hash, 'sha256');
  if (got !== digest) throw new WrongAnswer(`${path}: ${bytes} wrong bytes, ${got}`);
  return { digest: got, bytes, askedAtMs, firstByteAtMs, endedAtMs: absoluteMs(), longestPauseMs, cuts };
}

interface Reading {
  readonly url: string;
  /** The first byte that is wanted. */
  readonly from: number;
  readonly take: (piece: Buffer) => void;
  readonly onAsked?: (() => void) | undefined;
}

/** @returns whether the end was reached; otherwise the connection was cut. @throws when the answer is not what was asked for. */
async function readOnce({ url, from, take, onAsked = () => {} }: Reading): Promise<boolean> {
  // A server sends 100 Continue when it has read the headers.
  const expect = { expect: '100-continue' };
  const asked = request(url, { agent: false, headers: from === 0 ? expect : { range: `bytes=${from}-` } });
  const { promise: arrived, resolve } = Promise.withResolvers<void>();
  asked.once('continue', resolve);
  asked.end();
  const answered = responseOf(asked);
  await Promise.race([arrived, answered]);
  onAsked();
  const response = await answered;
  if (!response) return false;
  const { statusCode = 0 } = response;
  // Nothing is left of a blob that was cut between its last byte and its end.
  if (statusCode === 416 && from > 0) return true;
  let skipped = statusCode === 200 ? from : 0;
  if (statusCode !== 200 && statusCode !== 206)
    throw new WrongAnswer(`${url}: ${statusCode} ${(await bytesOf(response)).toString()}`);
  response.on('data', (piece: Buffer) => {
    response.pause();
    inTurn(response);
    const known = Math.min(skipped, piece.length);
    skipped -= known;
    if (known < piece.length) take(piece.subarray(known));
  });
  response.on('error', () => {}); // `close` follows.
  await once(response, 'close').catch(() => {});
  return response.complete;
}

async function responseOf(asked: ReturnType<typeof request>): Promise<IncomingMessage | undefined> {
  const { promise, resolve } = Promise.withResolvers<IncomingMessage | undefined>();
  asked.once('response', resolve);
  asked.on('error', () => resolve(undefined));
  return promise;
}

async function bytesOf(response: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  response.on('data', (piece: Buffer) => pieces.push(piece));
  response.on('error', () => {}); // `close` follows.
  await once(response, 'close').catch(() => {});
  return Buffer.concat(pieces);
}
