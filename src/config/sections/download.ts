import { z } from 'zod';
import { bytes, count, durationMs } from './values.ts';

export const download = z
  .strictObject({
    maxConcurrent: count()
      .describe(
        'Slots for concurrent blob downloads; further downloads wait. One upstream may use at most three quarters of the slots, and is always granted a sixteenth (at least one).',
      )
      .prefault(64),
    maxAbandoned: count({ least: 0 })
      .describe('How many downloads may continue after all their clients have left.')
      .prefault(16),
    minRate: bytes()
      .describe(
        'Minimum bytes per second. While others wait, a download below this for 3 s gives up its slot and continues without one. An upstream may have half as many of these as it has slots; beyond that the slowest is cut. `0B`: no minimum.',
      )
      .prefault('4KiB'),
    idleTimeout: durationMs()
      .describe('A download that receives nothing for this long is reconnected and resumed.')
      .prefault('30s'),
    attemptsWithoutProgress: count()
      .describe('Consecutive retries without a new byte before the download fails.')
      .prefault(5),
    bufferBudget: bytes()
      .describe(
        'Memory for data in flight, over all downloads and clients. Caches of manifests and listings take at most as much again.',
      )
      .prefault('128MiB'),
  })
  .transform(({ idleTimeout, bufferBudget, minRate, ...rest }) => ({
    ...rest,
    minBytesPerSecond: minRate,
    idleTimeoutMs: idleTimeout,
    bufferBudgetBytes: bufferBudget,
  }))
  .describe('How blobs are downloaded from upstreams.');
