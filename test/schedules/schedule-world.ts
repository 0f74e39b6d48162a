import { Readable } from 'node:stream';
import type fc from 'fast-check';
import { SqliteIndex } from '../../src/index/sqlite/sqlite-index.ts';
import { PurgeByGlob } from '../../src/mirror/administration/purge-by-glob.ts';
import type { Purge } from '../../src/mirror/administration/purge.ts';
import { assembleMirror } from '../../src/mirror/assemble.ts';
import { MemoryBudget } from '../../src/mirror/concurrency/memory-budget.ts';
import type { AssembledMirror } from '../../src/mirror/mirror-parts.ts';
import type { Observer, StoreObserver } from '../../src/mirror/ports/observer.ts';
import type { FetchedManifest, Upstream } from '../../src/mirror/ports/upstream.ts';
import { refusingUpstream } from '../../src/mirror/routing/upstream-choice.ts';
import { RateLimits } from '../../src/mirror/routing/rate-limits.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { OciError } from '../../src/oci/errors.ts';
import { ociManifest } from '../../src/oci/media-types.ts';
import { isTag, parseRepository, parseTag, type Reference } from '../../src/oci/reference.ts';
import { FileBlobStore } from '../../src/storage/filesystem/blob-store.ts';
import { FileRecordStore } from '../../src/storage/filesystem/record-store.ts';
import { defaultRules } from '../support/freshness-rules.ts';
import { type Content, content, descriptorOf, randomBlob } from '../support/images.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { PowerLossDisk } from '../support/power-loss-disk.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';

const kib = 1024;
const sizes = [3 * kib, 40 * kib, 90 * kib, 300 * kib];
const layers = Array.from({ length: 6 }, (_, at) => randomBlob(sizes[at % sizes.length] ?? kib, `layer ${at}`));

/** An image of the registry: neighbours share a layer. */
function imageNumber(at: number): readonly Content[] {
  const blobs = [0, 1].map((offset) => layers[(at + offset) % layers.length]).filter((one) => one !== undefined);
  const config = content('application/vnd.oci.image.config.v1+json', Buffer.from(JSON.stringify({ at })));
  const parts = { config: descriptorOf(config), layers: blobs.map(descriptorOf) };
  const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociManifest, ...parts }));
  return [content(ociManifest, manifest), config, ...blobs];
}

const images = Array.from({ length: 6 }, (_, at) => imageNumber(at));
const byDigest = new Map<string, Content>(images.flat().map((one) => [one.digest, one]));

export const repositories = ['library/a', 'library/b', 'acme/c'];
export const tags = ['1', '2', '1-dev'];

/** Less than all images need: pulls evict. */
const maxBytes = 560 * kib;

/** How often something happened. */
export type Counts = Map<string, number>;

/** Waits for its turn in the schedule. */
export type Turn = (name: string) => Promise<void>;

export interface World {
  readonly mirror: AssembledMirror;
  readonly purge: Purge;
  readonly byGlob: PurgeByGlob;
  readonly clock: ManualClock;
  readonly index: SqliteIndex;
  readonly store: FileBlobStore;
  readonly records: FileRecordStore;
  /** Lets a tag point at another image from now on. */
  readonly move: (repository: string, tag: string, image: number) => void;
  /** What was reported as a bug. */
  readonly bugs: readonly unknown[];
}

/** The real mirror over its real store and index: its disk is in memory, and each call to disk and upstream waits for its turn. */
export async function createWorld(turn: Turn, counts: Counts): Promise<World> {
  const bugs: unknown[] = [];
  const observer = observerTo(bugs, counts);
  const clock = new ManualClock();
  const files = new ScriptedFiles(new PowerLossDisk());
  const shared = { path: '/store', observer, files, failpoint: undefined };
  const store = new FileBlobStore({ ...shared, clock });
  const records = new FileRecordStore(shared);
  const index = new SqliteIndex({
    path: ':memory:',
    files: noFiles,
    observer,
    clock,
    runs: { run: 'run', lastRun: undefined },
  });
  await index.start();
  await store.prepare();
  await index.completeRebuild({ signal: new AbortController().signal });
  const pointing = new Map<string, number>();
  for (const [at, repository] of repositories.entries())
    for (const [place, tag] of tags.entries()) pointing.set(`${repository}:${tag}`, (at + 2 * place) % images.length);
  files.before = async ({ operation, path }) => {
    if (awaited.has(operation)) await turn(`${operation} ${path}`);
  };
  const upstream = scriptedUpstream(pointing, turn);
  const mirror = assembleMirror(
    {
      store,
      records,
      index,
      clock,
      observer,
      rateLimits: new RateLimits({ clock }),
      memory: new MemoryBudget({ maxBytes: 64 * kib * kib }),
    },
    limits,
    {
      upstreams: { find: (name) => (name === upstream.name ? upstream : undefined) },
      defaultUpstream: upstream.name,
      freshness: defaultRules,
      freshnessOf: new Map(),
      accessOf: new Map([[upstream.label, { allow: ['**'], deny: [], visibility: { kind: 'open' } }]]),
    },
  );
  const purge = mirror.purgeIn(index);
  return {
    mirror,
    purge,
    byGlob: new PurgeByGlob({ index, purge }),
    clock,
    index,
    store,
    records,
    bugs,
    move: (repository, tag, image) => void pointing.set(`${repository}:${tag}`, image),
  };
}

/** The calls of which the order matters to others. */
const awaited: ReadonlySet<string> = new Set(['open', 'unlink', 'rename', 'read', 'write', 'rmdir']);

const limits = {
  limits: { maxBytes, minFreeBytes: 0, maxFiles: 1_000_000 },
  keep: [],
  unusedForMs: 24 * 3_600_000,
  verifyReads: false,
  maxConcurrent: 3,
  maxAbandoned: 2,
  minBytesPerSecond: 0,
  attemptsWithoutProgress: 3,
  maxRequests: 1_000,
};

const noFiles = {
  make: async () => {},
  mayChange: async () => {},
  tryOut: async () => {},
  remove: async () => {},
  identity: async () => undefined,
  size: async () => 0,
  openForSync: async () => ({ sync: async () => {}, close: async () => {} }),
};

/** Counts what happens; what is reported as a bug is collected. */
function observerTo(bugs: unknown[], counts: Counts): Observer & StoreObserver {
  const count = (name: string) => counts.set(name, (counts.get(name) ?? 0) + 1);
  const events: Partial<Observer> = {
    internalError: (event) => void bugs.push(event),
    corruptionFound: (event) => void bugs.push(event),
    evicted: ({ reason }) => void count(`contents removed (${reason})`),
    downloadEnded: ({ result }) => void count(`downloads (${result})`),
  };
  const nothing = () => {};
  return new Proxy(events, { get: (target, name) => Reflect.get(target, name) ?? nothing }) as never;
}

/** A registry in memory that has every image. */
function scriptedUpstream(pointing: ReadonlyMap<string, number>, turn: Turn): Upstream {
  const manifestOf = (repository: string, reference: Reference): FetchedManifest => {
    const found = isTag(reference)
      ? images[pointing.get(`${repository}:${reference}`) ?? -1]?.[0]
      : byDigest.get(reference);
    if (found === undefined) throw new OciError('MANIFEST_UNKNOWN', 'unknown');
    return { digest: found.digest, mediaType: ociManifest, bytes: found.bytes };
  };
  const refusing = refusingUpstream(
    { name: 'docker.io', label: 'docker.io', maxConnections: 16 },
    () => new Error('unexpected'),
  );
  return {
    ...refusing,
    headManifest: async (repository, reference) => {
      await turn(`HEAD ${repository}:${reference}`);
      const { digest, mediaType, bytes } = manifestOf(repository, reference);
      return { digest, mediaType, size: bytes.length };
    },
    getManifest: async (repository, reference) => {
      await turn(`GET ${repository}:${reference}`);
      return manifestOf(repository, reference);
    },
    headBlob: async (_, digest) => {
      await turn(`HEAD ${digest}`);
      return { size: bytesOf(digest).length };
    },
    openBlob: async (_, digest, { range }) => {
      await turn(`GET ${digest}`);
      const bytes = bytesOf(digest);
      const [start, end] = [range?.start ?? 0, (range?.end ?? bytes.length - 1) + 1];
      return {
        size: bytes.length,
        offset: start,
        body: Readable.from(piecesOf(bytes.subarray(start, end), digest, turn)),
      };
    },
  };
}

async function* piecesOf(bytes: Buffer, digest: Digest, turn: Turn): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += upstreamPiece) {
    await turn(`bytes of ${digest}`);
    yield Buffer.from(bytes.subarray(at, at + upstreamPiece));
  }
}

const upstreamPiece = 100 * kib;

function bytesOf(digest: Digest): Buffer {
  const found = byDigest.get(digest);
  if (found === undefined) throw new OciError('BLOB_UNKNOWN', 'unknown');
  return found.bytes;
}

/** The name of a repository and of one of its tags. */
export function placeOf({ repository, tag }: { readonly repository: number; readonly tag: number }) {
  return {
    repositoryId: { upstream: 'docker.io', repository: parseRepository(repositories[repository] ?? 'library/a') },
    tag: parseTag(tags[tag] ?? '1'),
  };
}

/** The turns of a scheduler of fast-check. */
export function turnsOf(scheduler: fc.Scheduler): Turn {
  return (name) => scheduler.schedule(Promise.resolve(), name);
}
