import { z } from 'zod';
import { bytes, count, durationMs } from './values.ts';

export const download = z
  .strictObject({
    maxConcurrent: count()
      .describe(
        'Blobs that are downloaded at the same time, of one upstream at most three quarters of them; further ones wait. Each upstream always gets a sixteenth of them, and at least one.',
      )
      .prefault(64),
    maxAbandoned: count({ least: 0 })
      .describe('How many of them may go on after their clients have left.')
      .prefault(16),
    minRate: bytes()
      .describe(
        'Bytes a second. A download that receives less for 3 s while others wait goes on without a place. An upstream may have half as many of these as it has places; beyond that the slowest is cut. `0B`: none.',
      )
      .prefault('4KiB'),
    idleTimeout: durationMs()
      .describe('A download that receives nothing for so long is broken off and resumed.')
      .prefault('30s'),
    attemptsWithoutProgress: count().describe('How often it is tried again without a single new byte.').prefault(5),
    bufferBudget: bytes().describe('Memory for bytes on their way, over all downloads and clients.').prefault('128MiB'),
  })
  .transform(({ idleTimeout, bufferBudget, minRate, ...rest }) => ({
    ...rest,
    minBytesPerSecond: minRate,
    idleTimeoutMs: idleTimeout,
    bufferBudgetBytes: bufferBudget,
  }))
  .describe('How blobs come from the upstream.');
