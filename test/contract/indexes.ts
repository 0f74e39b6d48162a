import { randomUUID } from 'node:crypto';
import type { RepositoryId } from '../../src/mirror/ports/repository-id.ts';
import type { Catalogue, CatalogueLists, Index, Link } from '../../src/mirror/ports/store-index.ts';
import { type Digest, digestOf } from '../../src/oci/digest.ts';
import type { ImageFacts } from '../../src/oci/manifest.ts';
import { ociIndex, ociManifest } from '../../src/oci/media-types.ts';
import { parseRepository, parseTag } from '../../src/oci/reference.ts';
import type { LosableIndex } from '../../src/index/rebuilder.ts';
import { vi } from 'vitest';
import type { RedisSettings } from '../../src/cluster/redis/settings.ts';
import { thisSuite } from '../support/owner.ts';
import { startRedis } from '../support/redis.ts';
import { startRedisCluster, startSentinels } from '../support/redis-servers.ts';
import { startRedisIndex } from '../support/redis-index.ts';
import { stopAsIfKilled } from '../support/rebuilds.ts';
import { type IndexOptions, never, startIndex } from '../support/sqlite-index.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

export interface TestedIndex extends Index, Catalogue, CatalogueLists, LosableIndex {
  stop(options?: { readonly othersEnded: boolean }): Promise<void>;
}

/** Where the view of one store lies. */
export interface IndexPlace {
  /** Opens the view, until the test ends. */
  start(options?: IndexOptions): Promise<TestedIndex>;
  /** Leaves the view as a process does that is killed with nothing buffered. */
  kill(index: TestedIndex): Promise<void>;
}

export interface IndexKind {
  readonly name: string;
  /** A place without a view. */
  readonly newPlace: () => Promise<IndexPlace>;
  /** An index that nothing was recorded in, and that is complete. */
  readonly subject: (options?: IndexOptions) => Promise<TestedIndex>;
}

async function inSqlite(): Promise<IndexPlace> {
  const directory = await temporaryDirectory();
  return {
    start: async (options) => (await startIndex(directory, options)).index,
    kill: (index) => stopAsIfKilled(index, directory),
  };
}

/** The servers of all tests of a file. */
const owner = thisSuite();
const redis = once(async () => (await startRedis({ owner })).settings);
const redisCluster = once(async () => (await startRedisCluster({ owner })).settings);
const failedOver = once(async () => {
  const sentinels = await startSentinels({ owner });
  const former = await sentinels.primary();
  await former.kill();
  await vi.waitUntil(async () => (await sentinels.primary()) !== former, { timeout: 30_000, interval: 100 });
  return sentinels.settings;
});

function once<Value>(make: () => Promise<Value>): () => Promise<Value> {
  let made: Promise<Value> | undefined;
  return () => (made ??= make());
}

function inRedis(settings: () => Promise<RedisSettings>): () => Promise<IndexPlace> {
  return async () => {
    const storeId = randomUUID();
    const to = await settings();
    return {
      start: async (options) => {
        const { index } = await startRedisIndex(to, { ...options, storeId, commandWithinMs: 20_000 });
        // Servers that were just started, or have failed over, may refuse the first connection.
        await vi.waitUntil(() => index.isOpen, { timeout: 30_000 });
        return index;
      },
      kill: (index) => index.stop({ othersEnded: false }),
    };
  };
}

function kind(name: string, newPlace: () => Promise<IndexPlace>): IndexKind {
  const subject = async (options?: IndexOptions): Promise<TestedIndex> => {
    const index = await (await newPlace()).start(options);
    await index.completeRebuild({ signal: never });
    return index;
  };
  return { name, newPlace, subject };
}

/** Every implementation, and how a test gets one. */
export const indexes = [
  kind('in SQLite', inSqlite),
  kind('in Redis', inRedis(redis)),
  kind('in a Redis Cluster', inRedis(redisCluster)),
  kind('in Redis after a failover by Sentinels', inRedis(failedOver)),
];

export const alpine = repository('docker.io', 'library/alpine');
export const debian = repository('docker.io', 'library/debian');
export const elsewhere = repository('ghcr.io', 'library/alpine');
export const latest = parseTag('latest');

export function repository(upstream: string, name: string): RepositoryId {
  return { upstream, repository: parseRepository(name) };
}

export function named(name: string): Digest {
  return digestOf(Buffer.from(name));
}

export function indexBlob(index: Index, name: string, more: { size?: number; usedAtMs?: number } = {}): Digest {
  const digest = named(name);
  index.recordContent({ digest, size: 10, isManifest: false, names: [], usedAtMs: 1000, ...more });
  return digest;
}

export function indexManifest(index: Index, name: string, names: readonly Digest[], usedAtMs = 1000): Digest {
  const digest = named(name);
  index.recordContent({ digest, size: 1, isManifest: true, names, usedAtMs });
  return digest;
}

export function link(repositoryId: RepositoryId, digest: Digest, more: Partial<Link> = {}): Link {
  return { repositoryId, kind: 'blob', digest, mediaType: undefined, size: 10, ...more };
}

/** All that may be evicted, in order. */
export async function evictable(index: Index): Promise<readonly Digest[]> {
  return (await index.evictable({ limit: 1000 })).map(({ digest }) => digest);
}

/** A list of everything. */
export const everyItem = {
  filter: {},
  order: { by: 'name', isDescending: false },
  after: undefined,
  limit: 1000,
} as const;

export interface PulledImage {
  readonly name: string;
  readonly images?: ImageFacts['images'];
  readonly bytes?: number;
  readonly usedAtMs?: number;
}

/** Records an image as the mirror does when it is pulled first. */
export function pullImage(
  index: TestedIndex,
  { name, images = [], bytes = 100, usedAtMs = 1000 }: PulledImage,
): Digest {
  const digest = named(name);
  const mediaType = images.length > 0 ? ociIndex : ociManifest;
  const names = images.map((image) => image.digest);
  const image = { mediaType, bytes, images };
  index.recordContent({ digest, size: 10, isManifest: true, names, usedAtMs, image });
  return digest;
}
