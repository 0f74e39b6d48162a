import { randomBytes } from 'node:crypto';
import type { Config } from '../../config/schema.ts';
import type {
  AskedVerification,
  Job as JobAnswer,
  Jobs as JobsAnswer,
  JobsAdministration,
  JobSummary,
} from '../../http/management/api/jobs-routes.ts';
import { isoOf } from '../../http/management/api/schemas.ts';
import { Problem } from '../../http/management/problems.ts';
import { BlobTurns } from '../../mirror/administration/jobs/fetch-content.ts';
import { type Job, Jobs, mostRunning, type Work } from '../../mirror/administration/jobs/jobs.ts';
import { Refetch } from '../../mirror/administration/jobs/refetch.ts';
import { Verify, type VerifyDeps } from '../../mirror/administration/jobs/verify.ts';
import type { VerifyProgress } from '../../mirror/administration/jobs/verify-report.ts';
import { Warm, type WarmOrder, type WarmProgress } from '../../mirror/administration/jobs/warm.ts';
import type { WarmedImage } from '../../mirror/administration/jobs/warm-report.ts';
import type { AssembledMirror } from '../../mirror/mirror-parts.ts';
import { repositoryKey } from '../../mirror/ports/repository-id.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import type { RateLimits } from '../../mirror/routing/rate-limits.ts';
import type { Stores } from '../stores.ts';

export interface CreateJobsDeps {
  readonly mirror: Pick<AssembledMirror, 'mirror' | 'written' | 'storeAgain' | 'digestOf'>;
  readonly stores: Pick<Stores, 'store' | 'index' | 'scrubbing'>;
  readonly rateLimits: Pick<RateLimits, 'isLow'>;
  readonly clock: Clock;
  readonly observer: VerifyDeps['observer'];
}

/** The jobs, under the limits of a configuration. */
export function createJobs({ storage, download }: Config, deps: CreateJobsDeps): OperatorJobs {
  const { rateLimits, stores, clock, observer } = deps;
  const { mirror, written, storeAgain, digestOf } = deps.mirror;
  const turns = new BlobTurns({ maxConcurrent: download.maxConcurrent });
  const common = { ...stores, mirror, written, turns };
  const areFewPullsLeft = (label: string) => rateLimits.isLow(label);
  const refetch = new Refetch({ ...common, storeAgain });
  return new OperatorJobs({
    clock,
    observer,
    warm: new Warm({ ...common, areFewPullsLeft, maxBytes: storage.maxBytes }),
    verify: new Verify({ ...common, observer, refetch, digestOf, onQuarantined: storeAgain }),
  });
}

interface OperatorJobsDeps {
  readonly clock: Pick<Clock, 'now'>;
  readonly observer: Pick<Observer, 'internalError'>;
  readonly warm: Warm;
  readonly verify: Verify;
}

type Progress = WarmProgress | VerifyProgress;

/** The jobs of this process, as the management API tells of them. */
export class OperatorJobs implements JobsAdministration {
  readonly name = 'jobs';
  readonly #jobs: Jobs<Progress>;
  readonly #warm: Warm;
  readonly #verify: Verify;

  constructor({ clock, observer, warm, verify }: OperatorJobsDeps) {
    this.#jobs = new Jobs({ clock, observer, newId: () => randomBytes(8).toString('hex') });
    this.#warm = warm;
    this.#verify = verify;
  }

  /** Nothing runs before it is asked for. */
  async start(): Promise<void> {}

  stop(): Promise<void> {
    return this.#jobs.stop();
  }

  list(): JobsAnswer {
    return { items: this.#jobs.list().map(summaryOf) };
  }

  get(id: string): JobAnswer {
    return answerOf(known(this.#jobs.get(id)));
  }

  async cancel(id: string, waiting: Waiting): Promise<JobAnswer> {
    return answerOf(known(await this.#jobs.cancel(id, waiting)));
  }

  warm(order: WarmOrder): JobSummary {
    return this.#begin((waiting) => this.#warm.begin(order, waiting));
  }

  async verify({ scope, ...order }: AskedVerification): Promise<JobSummary> {
    const known = scope.kind === 'tag' ? await this.#verify.scopeOfTag(scope.repositoryId, scope.tag) : scope;
    const isCached = known && (await this.#verify.isCached(known));
    if (known && isCached === undefined) throw new Problem('unavailable', 'the index cannot be read now');
    if (!known || isCached !== true) throw new Problem('not-found', `${nameOf(scope)} is not cached`);
    const running = this.#jobs.list().find(({ state, progress }) => state === 'running' && progress.kind === 'verify');
    if (running)
      throw new Problem('already-runs', `job ${running.id} verifies already`, { members: { job: running.id } });
    return this.#begin((waiting) => this.#verify.begin({ ...order, scope: known }, waiting));
  }

  #begin(start: (waiting: Waiting) => Work<Progress>): JobSummary {
    const job = this.#jobs.begin(start);
    if (typeof job === 'object') return summaryOf(job);
    const why = job === 'stopping' ? 'the mirror is stopping' : `${mostRunning} jobs run already`;
    throw new Problem('unavailable', why, { headers: { 'Retry-After': '5' } });
  }
}

/** @throws Problem when there is none. */
function known(job: Job<Progress> | undefined): Job<Progress> {
  if (job === undefined) throw new Problem('not-found', 'there is no such job; those of an earlier process are gone');
  return job;
}

function summaryOf({ id, state, startedAtMs, endedAtMs, progress }: Job<Progress>): JobSummary {
  const { kind, problemCount: problems } = progress;
  const times = { startedAt: isoOf(startedAtMs), ...(endedAtMs !== undefined && { endedAt: isoOf(endedAtMs) }) };
  return {
    id,
    kind,
    state,
    ...times,
    ...(kind === 'warm' ? warmSummary(progress) : verifySummary(progress)),
    problems,
  };
}

function warmSummary({ images }: WarmProgress) {
  const ended = images.filter(({ state }) => state !== 'waiting' && state !== 'running');
  const bytes = images.reduce((sum, { fetched }) => sum + fetched.bytes, 0);
  return { done: ended.length, total: images.length, bytes };
}

function verifySummary({ checked, total, bytes }: VerifyProgress) {
  return { done: checked, total: total ?? null, bytes };
}

function answerOf(job: Job<Progress>): JobAnswer {
  const { progress } = job;
  const problemList = [...progress.problems];
  if (progress.kind === 'warm') return { ...summaryOf(job), images: progress.images.map(imageOf), problemList };
  const { damaged, missing, unreadable, refetched } = progress;
  return { ...summaryOf(job), verified: { damaged, missing, unreadable, refetched }, problemList };
}

function imageOf({ digest, fetched, present, ...image }: WarmedImage): NonNullable<JobAnswer['images']>[number] {
  return { ...image, ...(digest !== undefined && { digest }), fetched: { ...fetched }, present: { ...present } };
}

/** What is to be verified, as people name it. Pure. */
function nameOf(scope: AskedVerification['scope']): string {
  if (scope.kind === 'all') return 'nothing';
  const repository = repositoryKey(scope.repositoryId);
  if (scope.kind === 'repository') return repository;
  return scope.kind === 'tag' ? `${repository}:${scope.tag}` : `${repository}@${scope.digest}`;
}
