import { z } from 'zod';
import { cachedGlob } from './names.ts';
import { bytes, count, durationOrForeverMs, path, word } from './values.ts';

export const storage = z
  .strictObject({
    driver: word(['filesystem']).describe('Where content is kept: `filesystem`, a folder.').prefault('filesystem'),
    path: path()
      .describe('The folder. All of it on one filesystem: what is complete is renamed into place.')
      .prefault('./data'),
    maxSize: bytes()
      .describe('The most the cache may hold; beyond it goes what was pulled least recently.')
      .prefault('50GiB'),
    maxFiles: count({ least: 1_000, most: 1_000_000_000 })
      .describe('The most files and folders in the store; beyond it the least recently pulled content is evicted.')
      .prefault(1_000_000),
    minFree: bytes().describe('What stays free on the disk, whatever maxSize says.').prefault('2GiB'),
    unusedFor: durationOrForeverMs()
      .describe('What nobody pulled for so long goes, however much room there is.')
      .prefault('30d'),
    keep: z
      .array(cachedGlob())
      .describe('Globs over `<upstream>/<repository>` of what is never evicted, such as `docker.io/library/*`.')
      .prefault([]),
    scrubEvery: durationOrForeverMs()
      .describe('How often everything stored is read and verified again; `forever` is never.')
      .prefault('7d'),
    scrubRate: bytes().describe('The most it reads for that, in bytes a second.').prefault('20MiB'),
    verifyReads: z.boolean().describe('Hashes every blob again whenever it is served.').prefault(false),
  })
  .transform(({ maxSize, minFree, unusedFor, scrubEvery, scrubRate, ...rest }) => ({
    ...rest,
    scrubEveryMs: scrubEvery,
    scrubBytesPerSecond: scrubRate,
    maxBytes: maxSize,
    minFreeBytes: minFree,
    unusedForMs: unusedFor,
  }))
  .describe('What is kept, and how much.');

export const index = z
  .strictObject({
    driver: word(['sqlite']).describe('The fast view of the store: `sqlite`, a file.').prefault('sqlite'),
    path: path()
      .describe('Its file, on a local disk, used by one process. Default: `index.sqlite` in storage.path.')
      .optional(),
  })
  .describe('A view that is rebuilt from the store when it is lost.');
