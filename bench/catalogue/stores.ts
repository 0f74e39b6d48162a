import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RedisConnection } from '../../src/cluster/redis/connection.ts';
import { RedisIndex } from '../../src/index/redis/redis-index.ts';
import { SqliteIndex } from '../../src/index/sqlite/sqlite-index.ts';
import { StoreLock } from '../../src/index/store-lock.ts';
import { systemClock } from '../../src/mirror/ports/clock.ts';
import { DurableFolders } from '../../src/storage/filesystem/durable-folders.ts';
import { nodeFiles } from '../../src/storage/filesystem/file-system.ts';
import { storeIdIn } from '../../src/storage/filesystem/store-id.ts';
import { freePort, type ServerProcess, startServer } from '../server-process.ts';
import { fillIndex, type StoreCounts } from './generated-index.ts';

export type Driver = 'sqlite' | 'redis';

/** Where a generated store lies. */
export interface Place {
  readonly driver: Driver;
  readonly folder: string;
  /** Used by `redis`. */
  readonly redisUrl: string;
}

const observer = {
  internalError: ({ cause }: { readonly cause: unknown }) => process.stderr.write(`${String(cause)}\n`),
  indexAnswered: () => {},
  redisAnswered: () => {},
  redisChanged: () => {},
};
const nothing = { bytes: 0, manifestBytes: 0, diskBytes: 0, keptBytes: 0, manifests: 0, blobs: 0, records: 0 };
const noStoredLinks = { borrowable: async () => [], linked: () => {}, names: () => {}, forget: () => {} };

/** Makes an empty store whose index says that it has as much. A mirror that is started on it uses that index. */
export async function generateStore(place: Place, counts: StoreCounts): Promise<void> {
  const store = join(place.folder, 'store');
  await mkdir(store, { recursive: true });
  const files = new DurableFolders({ files: nodeFiles });
  const lock = new StoreLock({ folder: store, files, observer });
  await lock.start();
  const index = place.driver === 'sqlite' ? sqliteIndex(place, files, lock) : redisIndex(place, files, lock);
  await index.start();
  await index.completeRebuild({ signal: new AbortController().signal });
  await fillIndex(index, counts, Date.now());
  await index.stop();
  await lock.stop();
}

function sqliteIndex({ folder }: Place, files: DurableFolders, runs: StoreLock): SqliteIndex {
  return new SqliteIndex({ path: join(folder, 'index.sqlite'), files, runs, observer, clock: systemClock });
}

function redisIndex({ folder, redisUrl }: Place, folders: DurableFolders, runs: StoreLock): RedisIndex {
  return new RedisIndex({
    redis: new RedisConnection({
      name: 'index',
      settings: { place: { kind: 'single', readUrl: () => Promise.resolve(redisUrl) } },
      clock: systemClock,
      observer,
    }),
    keyPrefix: 'layerwell',
    storeId: () => storeIdIn({ folder: join(folder, 'store'), files: nodeFiles, folders, onRefused: () => {} }),
    runs,
    clock: systemClock,
    countStore: async () => nothing,
    storedLinks: noStoredLinks,
    observer,
  });
}

export interface StartedMirror extends ServerProcess {
  readonly url: string;
  readonly managementUrl: string;
}

/** A mirror of its own process on a generated store. It evicts nothing: what it believes to have takes no room. */
export async function startMirror(
  { driver, folder, redisUrl }: Place,
  { upstreamUrl, signal }: { readonly upstreamUrl: string; readonly signal: AbortSignal },
): Promise<StartedMirror> {
  const [port, managementPort] = [await freePort(), await freePort()];
  const path = join(folder, 'mirror.config.json');
  const index =
    driver === 'sqlite'
      ? { driver, path: join(folder, 'index.sqlite') }
      : { driver, url: redisUrl, keyPrefix: 'layerwell' };
  const config = {
    listen: { host: '127.0.0.1', port },
    management: { host: '127.0.0.1', port: managementPort, pages: 'public' },
    storage: { driver: 'filesystem', path: join(folder, 'store'), maxSize: '7000TiB', maxFiles: 1_000_000_000 },
    index,
    defaultUpstream: 'upstream.test',
    upstreams: { 'upstream.test': { url: upstreamUrl } },
  };
  await writeFile(path, JSON.stringify(config));
  const server = await startServer(
    {
      program: process.execPath,
      args: [join(import.meta.dirname, '../../src/main.ts'), 'serve', '--config', path],
      env: { PATH: process.env['PATH'] ?? '', NODE_ENV: 'production' },
      logFile: join(folder, 'log'),
      readyUrl: `http://127.0.0.1:${managementPort}/readyz`,
    },
    signal,
  );
  return { ...server, url: `http://127.0.0.1:${port}`, managementUrl: `http://127.0.0.1:${managementPort}` };
}
