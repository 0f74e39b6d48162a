import { z } from 'zod';
import { type RepositoryId, repositoryKey } from '../../../mirror/ports/repository-id.ts';

export const time = () => z.iso.datetime();
export const amount = () => z.int().min(0);
/** Of everything that is of a repository; {@link repositoryIn} has the values. */
export const inRepository = {
  name: z.string().describe('`<upstream>/<repository>`, which is also how to pull it.'),
  registry: z.string().describe('The name of the upstream, as clients write it.'),
  repository: z.string(),
};
/** What a part could not tell in time is null. */
const perhaps = () => amount().nullable();

export const cacheWords = ['hit', 'revalidated', 'stale', 'collapsed', 'miss', 'negative', 'none'] as const;

const answers = z.strictObject({ answers: amount(), bytes: amount().describe('Bytes of content sent.') });

const served = z.strictObject({ requests: amount(), bytes: amount().describe('Bytes of content sent.') });

const top = z.strictObject({
  repositories: z
    .array(served.extend({ name: z.string().describe('`<upstream>/<repository>`.') }))
    .describe('Those with the most bytes or the most requests, at most 40, by bytes.'),
  other: served.describe('All others. Beyond 1000 repositories, those that were not served for long count only here.'),
});

export const stats = z
  .strictObject({
    startedAt: time().describe('When this process started: everything else is counted since.'),
    requests: z.strictObject({
      total: amount().describe('Requests of clients that were about content.'),
      hitRatio: z
        .number()
        .min(0)
        .max(1)
        .nullable()
        .describe('Share of them that needed nothing but a confirmation from an upstream; null before the first.'),
      byCache: z
        .partialRecord(z.enum(cacheWords), answers)
        .describe('Answers by where they came from; `none`: not about content, such as a ping.'),
    }),
    bytes: z.strictObject({
      served: amount().describe('Bytes of content sent to clients.'),
      fromUpstream: amount().describe('Bytes of content received from upstreams.'),
      saved: amount().describe('How many fewer came from upstreams than were sent to clients.'),
    }),
    upstreamRequests: amount().describe('Requests to upstreams, including pings and those for tokens.'),
    top: top.describe('Successful answers by repository.'),
    storage: z.strictObject({
      usedBytes: perhaps().describe('Disk use of the store in whole blocks.'),
      maxBytes: amount().describe('`storage.maxSize`.'),
      files: perhaps().describe('Files and folders in the store.'),
      maxFiles: amount().describe('`storage.maxFiles`.'),
      freeBytes: perhaps().describe('Free bytes on the disk of the store.'),
      diskBytes: perhaps().describe('Size of that disk.'),
      contentBytes: perhaps().describe('Total length of the stored blobs and manifests.'),
      blobs: perhaps(),
      manifests: perhaps(),
      quarantinedFiles: amount().describe('Damaged files kept in quarantine.'),
      oldestUseAt: time().nullable().describe('When the content was last used that is evicted next.'),
      isIndexComplete: z.boolean().describe('false while the index is rebuilt.'),
    }),
  })
  .meta({ id: 'Stats' });

export const upstream = z
  .strictObject({
    name: z.string().describe('Its key in the configuration.'),
    state: z.enum(['not asked yet', 'reachable', 'unreachable']),
    reason: z.string().optional().describe('Why it is unreachable.'),
    since: time().optional().describe('Since when it is in this state.'),
    lastSuccessAt: time().optional().describe('When it last answered with a status below 500 other than 429.'),
    lastFailure: z
      .strictObject({ reason: z.string(), at: time() })
      .optional()
      .describe('The last time that it gave no usable answer, after all retries.'),
    circuits: z
      .array(z.strictObject({ endpoint: z.string(), state: z.enum(['closed', 'open', 'half-open']) }))
      .describe('Of the endpoints whose circuit was ever open.'),
    requests: amount().describe('Requests to it since the start of the process.'),
    bytes: amount().describe('Bytes of content received from it.'),
    running: amount().describe('Requests to it that run or wait for a connection.'),
    waiting: amount().describe('Requests of clients that wait for it.'),
    rateLimits: z.array(
      z
        .strictObject({
          account: z.string().describe('`anonymous`, or the kind and number of the account, such as `basic-1`.'),
          limit: z.number(),
          remaining: z.number(),
          windowSeconds: z.number().optional(),
          reportedAt: time(),
        })
        .describe('As last reported by the upstream.'),
    ),
    credentials: z
      .array(z.strictObject({ account: z.string(), expiresAt: time() }))
      .describe('Secrets that were fetched for an account and expire; they are renewed before.'),
  })
  .meta({ id: 'Upstream' });

export const upstreams = z.strictObject({ items: z.array(upstream) }).meta({ id: 'Upstreams' });

export const reloaded = z
  .strictObject({
    sha256: z.string().describe('Of the configuration file that is in use now.'),
    needRestart: z.array(z.string()).describe('The sections of it that hold only after a restart.'),
  })
  .meta({ id: 'Reloaded' });

export const problem = z
  .looseObject({
    type: z.string().describe('`/problems/` and a word for the kind of the problem.'),
    title: z.string(),
    status: z.int(),
    detail: z.string().describe('For people.'),
    problems: z.array(z.string()).optional().describe('Every problem of a configuration that was refused.'),
  })
  .meta({ id: 'Problem' });

export type Stats = z.output<typeof stats>;
export type Upstreams = z.output<typeof upstreams>;
export type Reloaded = z.output<typeof reloaded>;

/** The last time that a date can be: a lifetime may be longer. */
const latestMs = Date.UTC(9999, 11, 31);

/** A time as answers have it. Pure. */
export function isoOf(ms: number): string {
  return new Date(Math.min(ms, latestMs)).toISOString();
}

/** Pure. */
export function repositoryIn(repositoryId: RepositoryId) {
  return { name: repositoryKey(repositoryId), registry: repositoryId.upstream, repository: repositoryId.repository };
}
