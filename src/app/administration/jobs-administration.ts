import { randomBytes } from 'node:crypto';
import type { Config } from '../../config/schema.ts';
import type {
  Job as JobAnswer,
  Jobs as JobsAnswer,
  JobsAdministration,
  JobSummary,
} from '../../http/management/api/jobs-routes.ts';
import { Problem } from '../../http/management/problems.ts';
import { type Job, Jobs, mostRunning, type Work } from '../../mirror/administration/jobs/jobs.ts';
import { Warm, type WarmDeps, type WarmOrder, type WarmProgress } from '../../mirror/administration/jobs/warm.ts';
import type { WarmedImage } from '../../mirror/administration/jobs/warm-report.ts';
import type { AssembledMirror } from '../../mirror/mirror-parts.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import type { RateLimits } from '../../mirror/routing/rate-limits.ts';

export interface CreateJobsDeps extends Omit<OperatorJobsDeps, 'warm'> {
  readonly mirror: Pick<AssembledMirror, 'mirror' | 'written'>;
  readonly rateLimits: Pick<RateLimits, 'isLow'>;
}

/** The jobs, under the limits of a configuration. */
export function createJobs({ storage, download }: Config, deps: CreateJobsDeps): OperatorJobs {
  const { mirror, rateLimits, ...others } = deps;
  const { maxConcurrent } = download;
  const areFewPullsLeft = (label: string) => rateLimits.isLow(label);
  const warm = { ...mirror, areFewPullsLeft, maxBytes: storage.maxBytes, maxConcurrent };
  return new OperatorJobs({ ...others, warm });
}

export interface OperatorJobsDeps {
  readonly clock: Pick<Clock, 'now'>;
  readonly observer: Pick<Observer, 'internalError'>;
  readonly warm: WarmDeps;
}

type Progress = WarmProgress;

/** The jobs of this process, as the management API tells of them. */
export class OperatorJobs implements JobsAdministration {
  readonly name = 'jobs';
  readonly #jobs: Jobs<Progress>;
  readonly #warm: Warm;

  constructor({ clock, observer, warm }: OperatorJobsDeps) {
    this.#jobs = new Jobs({ clock, observer, newId: () => randomBytes(8).toString('hex') });
    this.#warm = new Warm(warm);
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
  const { kind, images, problemCount } = progress;
  return {
    id,
    kind,
    state,
    startedAt: isoOf(startedAtMs),
    ...(endedAtMs !== undefined && { endedAt: isoOf(endedAtMs) }),
    done: images.filter((image) => image.state !== 'waiting' && image.state !== 'running').length,
    total: images.length,
    bytes: images.reduce((sum, { fetched }) => sum + fetched.bytes, 0),
    problems: problemCount,
  };
}

function answerOf(job: Job<Progress>): JobAnswer {
  const { images, problems } = job.progress;
  return { ...summaryOf(job), images: images.map(imageOf), problemList: [...problems] };
}

function imageOf({ digest, fetched, present, ...image }: WarmedImage): NonNullable<JobAnswer['images']>[number] {
  return { ...image, ...(digest !== undefined && { digest }), fetched: { ...fetched }, present: { ...present } };
}

function isoOf(ms: number): string {
  return new Date(ms).toISOString();
}
