import { z } from 'zod';
import { cachedGlob } from './names.ts';
import { sharedStorage } from './shared-storage.ts';
import { redisKeys, redisOf } from './redis.ts';
import { bytes, count, durationOrForeverMs, path, word } from './values.ts';

export const storage = z
  .strictObject({
    driver: word(['filesystem']).describe('Where content is stored. `filesystem`: in a folder.').prefault('filesystem'),
    path: path()
      .describe('The folder. It must be on a single filesystem, because complete files are renamed into place.')
      .prefault('./data'),
    maxSize: bytes()
      .describe('Maximum disk use. Beyond it, the least recently pulled content is evicted.')
      .prefault('50GiB'),
    maxFiles: count({ least: 1_000, most: 1_000_000_000 })
      .describe('Maximum files and folders in the store. Beyond it, the least recently pulled content is evicted.')
      .prefault(1_000_000),
    minFree: bytes().describe('Free space to leave on the disk, whatever `maxSize` says.').prefault('2GiB'),
    unusedFor: durationOrForeverMs()
      .describe('Evict content not pulled for this long, even if there is free space.')
      .prefault('30d'),
    keep: z
      .array(cachedGlob())
      .describe(
        'Globs over `<upstream>/<repository>`, such as `docker.io/library/*`, for content that is never evicted.',
      )
      .prefault([]),
    scrubEvery: durationOrForeverMs()
      .describe('How often to re-verify all stored content; `forever` disables it.')
      .prefault('7d'),
    scrubRate: bytes().describe('Read rate of that verification, in bytes per second.').prefault('20MiB'),
    verifyReads: z.boolean().describe('Verify the digest of every blob each time it is served.').prefault(false),
    shared: sharedStorage.optional(),
  })
  .transform(({ maxSize, minFree, unusedFor, scrubEvery, scrubRate, ...rest }) => ({
    ...rest,
    scrubEveryMs: scrubEvery,
    scrubBytesPerSecond: scrubRate,
    maxBytes: maxSize,
    minFreeBytes: minFree,
    unusedForMs: unusedFor,
  }))
  .describe('The store: where content is kept, and how much of it.');

const sqliteOrRedis = z.strictObject({
  driver: word(['sqlite', 'redis'])
    .describe(
      'Where the index is kept. `sqlite`: in a file. `redis`: in a Redis server, by the keys `url` to `tls` below.',
    )
    .prefault('sqlite'),
  path: path()
    .describe(
      'The index file of `sqlite`. It must be on a local disk and used by one process only. Default: `index.sqlite` in `storage.path`.',
    )
    .optional(),
  ...redisKeys,
});

export const index = sqliteOrRedis
  .transform(({ driver, path: file, ...keys }, context) => {
    const others = driver === 'sqlite' ? keys : { path: file };
    for (const [key, value] of Object.entries(others)) {
      if (value === undefined) continue;
      context.addIssue({ code: 'custom', path: [key], message: `not allowed with driver "${driver}"` });
    }
    return driver === 'sqlite' ? { driver, path: file } : { driver, redis: redisOf(keys, context) };
  })
  .describe('The index of the store. It is rebuilt from the store when it is lost.');
