import { z } from 'zod';
import { parsePlatform, type Platform } from '../../../mirror/administration/jobs/image-contents.ts';
import { mostRemembered, mostRunning } from '../../../mirror/administration/jobs/jobs.ts';
import type { WarmOrder } from '../../../mirror/administration/jobs/warm.ts';
import { mostProblems } from '../../../mirror/administration/jobs/job-problems.ts';
import type { VerifyOrder, VerifyScope } from '../../../mirror/administration/jobs/verify.ts';
import type { RepositoryId } from '../../../mirror/ports/repository-id.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { isDigest } from '../../../oci/digest.ts';
import { type ImageName, parseImageName } from '../../../oci/image-name.ts';
import { isTag, type Tag } from '../../../oci/reference.ts';
import { repositoryName } from './catalogue-routes.ts';
import { type Route, route } from './route.ts';
import { amount, time } from './schemas.ts';

/** What the routes of jobs need of the mirror. */
export interface JobsAdministration {
  list(): Jobs;
  /** @throws Problem `not-found`. */
  get(id: string): Job;
  /** Answers when the job has ended. @throws Problem `not-found`. */
  cancel(id: string, waiting: Waiting): Promise<Job>;
  /** @throws Problem `unavailable` when too many jobs run. */
  warm(order: WarmOrder): JobSummary;
  /** @throws Problem likewise; `not-found` when nothing of it is cached; `already-runs` while another verification runs. */
  verify(order: AskedVerification): Promise<JobSummary>;
}

/** A verification, before it is known what a tag points at. */
export interface AskedVerification extends Omit<VerifyOrder, 'scope'> {
  readonly scope: VerifyScope | { readonly kind: 'tag'; readonly repositoryId: RepositoryId; readonly tag: Tag };
}

export interface JobsNeeds {
  readonly jobs: JobsAdministration;
}

const summary = {
  id: z.string(),
  kind: z.enum(['warm', 'verify']),
  state: z
    .enum(['running', 'done', 'failed', 'cancelled'])
    .describe('`done`: it came to its end, with the problems that it tells of. `failed`: by a bug; the log has it.'),
  startedAt: time(),
  endedAt: time().optional().describe('Absent while it runs.'),
  done: amount().describe('How many images have ended, or how many contents were verified.'),
  total: amount().nullable().describe('How many there are, about; null if that is not known.'),
  bytes: amount().describe('Bytes of blobs that were fetched, or of what was read to verify it.'),
  problems: amount().describe('How many things could not be done, or were skipped.'),
};

export const jobSummary = z.strictObject(summary).meta({ id: 'JobSummary' });

export const jobs = z.strictObject({ items: z.array(jobSummary).describe('The last first.') }).meta({ id: 'Jobs' });

const counts = z.strictObject({ manifests: amount(), blobs: amount(), bytes: amount().describe('Of blobs.') });

const warmedImage = z.strictObject({
  image: z.string().describe('Its full name.'),
  state: z
    .enum(['waiting', 'running', 'done', 'failed', 'cancelled'])
    .describe('`failed`: a part of it could not be fetched.'),
  digest: z.string().optional().describe('What its tag points at; absent until that is known.'),
  fetched: counts.describe('What came from the upstream, so far.'),
  present: counts.describe('What was stored already.'),
});

const verified = z.strictObject({
  damaged: amount().describe('Its bytes were not those of its digest: it was put into quarantine.'),
  missing: amount().describe('The index had it, and the store did not.'),
  unreadable: amount().describe('The disk fails to read it.'),
  refetched: amount().describe('Damaged or missing, and fetched again.'),
});

const jobProblem = z.strictObject({
  image: z.string().optional(),
  subject: z.string().describe('A digest, a tag, a platform or a registry.'),
  reason: z.string().describe('A word; see docs/management.md.'),
  detail: z.string().describe('For people.'),
});

export const job = z
  .strictObject({
    ...summary,
    images: z.array(warmedImage).optional().describe('Of a job that warms: in the order asked for.'),
    verified: verified.optional().describe('Of a job that verifies.'),
    problemList: z.array(jobProblem).describe(`At most the first ${mostProblems}.`),
  })
  .meta({ id: 'Job' });

export type JobSummary = z.output<typeof jobSummary>;
export type Jobs = z.output<typeof jobs>;
export type Job = z.output<typeof job>;

/** The images that one request may name: what a job keeps of each is remembered. */
export const mostImages = 250;
const mostPlatforms = 20;

export function imageName() {
  return z
    .string()
    .max(800)
    .transform((text, context): ImageName => {
      const name = parseImageName(text);
      if (typeof name !== 'string') return name;
      context.addIssue(name);
      return z.NEVER;
    })
    .describe(
      'As `docker pull` takes it: `nginx:1.27` is `docker.io/library/nginx:1.27`, and without a tag or digest it is `latest`.',
    );
}

/** Platforms of image indexes, or `all`. */
export function platformList() {
  const platform = z.string().transform((text, context): Platform | 'all' => {
    const parsed = text === 'all' ? text : parsePlatform(text);
    if (parsed !== undefined) return parsed;
    context.addIssue('expected a platform such as "linux/arm64", or "all"');
    return z.NEVER;
  });
  return z
    .array(platform)
    .min(1)
    .max(mostPlatforms)
    .transform((wanted): readonly Platform[] | 'all' => {
      const named = wanted.filter((one) => one !== 'all');
      return named.length < wanted.length ? 'all' : named;
    });
}

const warmBody = z.strictObject({
  images: z.array(imageName()).min(1).max(mostImages),
  platforms: platformList()
    .prefault(['linux/amd64'])
    .describe(
      'The platforms of image indexes, such as `linux/arm64`; or `all`. Without a variant, all variants are meant.',
    ),
  referrers: z
    .boolean()
    .prefault(false)
    .describe('Whether to fetch signatures, SBOMs, attestations and the like as well.'),
});

const verifyBody = z
  .strictObject({
    repository: repositoryName()
      .optional()
      .describe('Only what this repository is linked to. Absent: all that is stored.'),
    tag: z.string().refine(isTag, 'expected a tag').optional().describe('Only this image of the repository.'),
    digest: z.string().refine(isDigest, 'expected a digest').optional().describe('Likewise.'),
    refetch: z.boolean().prefault(false).describe('Whether to fetch again what is damaged or missing.'),
    bytesPerSecond: z.int().min(1).optional().describe('The most to read in a second. Absent: as fast as the disk.'),
  })
  .transform(({ repository, tag, digest, refetch, bytesPerSecond = Infinity }, context): AskedVerification => {
    const order = { refetch, bytesPerSecond };
    const isNamedTwice = tag !== undefined && digest !== undefined;
    const isOfNothing = repository === undefined && (tag !== undefined || digest !== undefined);
    if (isNamedTwice || isOfNothing) context.addIssue('expected a repository with a tag or a digest, not both');
    if (repository === undefined) return { ...order, scope: { kind: 'all' } };
    const repositoryId = repository;
    if (tag !== undefined) return { ...order, scope: { kind: 'tag', repositoryId, tag } };
    if (digest !== undefined) return { ...order, scope: { kind: 'image', repositoryId, digest } };
    return { ...order, scope: { kind: 'repository', repositoryId } };
  })
  .prefault({});

const nothing = z.strictObject({});
const noBody = nothing.optional();
const jobPath = z.strictObject({ id: z.string().describe('As the answer that began it told.') });

export const jobsRoutes: readonly Route<JobsNeeds>[] = [
  route({
    method: 'post',
    path: '/api/v1/warm',
    summary: 'Begins to fetch images, as clients would pull them. What is stored already is not fetched again.',
    pathParameters: nothing,
    query: nothing,
    body: warmBody,
    status: 202,
    answer: jobSummary,
    run: async ({ body }, { jobs: administration }: JobsNeeds) => administration.warm(body),
  }),
  route({
    method: 'post',
    path: '/api/v1/verify',
    summary:
      'Begins to read what is stored and to compare it with its digests. What is damaged is put into quarantine. 409 while another verification runs.',
    pathParameters: nothing,
    query: nothing,
    body: verifyBody,
    status: 202,
    answer: jobSummary,
    run: ({ body }, { jobs: administration }: JobsNeeds) => administration.verify(body),
  }),
  route({
    method: 'get',
    path: '/api/v1/jobs',
    summary: `The jobs of this process: at most ${mostRunning} run, and the last ${mostRemembered} are remembered.`,
    pathParameters: nothing,
    query: nothing,
    body: noBody,
    answer: jobs,
    run: async (_, { jobs: administration }: JobsNeeds) => administration.list(),
  }),
  route({
    method: 'get',
    path: '/api/v1/jobs/{id}',
    summary: 'One job: how far it is, and what it could not do.',
    pathParameters: jobPath,
    query: nothing,
    body: noBody,
    answer: job,
    run: async ({ path }, { jobs: administration }: JobsNeeds) => administration.get(path.id),
  }),
  route({
    method: 'delete',
    path: '/api/v1/jobs/{id}',
    summary: 'Cancels a job, and answers when it has ended. What it has stored stays.',
    pathParameters: jobPath,
    query: nothing,
    body: noBody,
    answer: job,
    run: ({ path, signal }, { jobs: administration }: JobsNeeds) => administration.cancel(path.id, { signal }),
  }),
];
