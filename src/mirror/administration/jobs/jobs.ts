import { abortable } from '../../concurrency/abortable-wait.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Observer } from '../../ports/observer.ts';
import type { Waiting } from '../../ports/waiting.ts';

/** Work that takes long, and tells how far it is. */
export interface Work<Progress> {
  /** What it has done so far. */
  readonly progress: () => Progress;
  /** Settles when it has ended. Rejects when it could not go on, or its signal aborted. */
  readonly ended: Promise<void>;
}

/** `done` says only that it has come to its end: its progress tells what it could not do. */
export type JobState = 'running' | 'done' | 'failed' | 'cancelled';

export interface Job<Progress> {
  readonly id: string;
  readonly state: JobState;
  readonly startedAtMs: number;
  /** Undefined while it runs. */
  readonly endedAtMs: number | undefined;
  readonly progress: Progress;
}

export interface JobsDeps {
  readonly clock: Pick<Clock, 'now'>;
  readonly observer: Pick<Observer, 'internalError'>;
  /** A name that no job of this or an earlier process has. */
  readonly newId: () => string;
}

/** Jobs that run at the same time. */
export const mostRunning = 8;
/** Jobs that are told of, those that run included. The ones that began first are forgotten first. */
export const mostRemembered = 100;

/** The work that operators have asked for, in this process. What a job has stored stays, however it ends. */
export class Jobs<Progress> {
  readonly #deps: JobsDeps;
  /** In the order they began. */
  readonly #jobs = new Map<string, RunningJob<Progress>>();
  #isStopping = false;

  constructor(deps: JobsDeps) {
    this.#deps = deps;
  }

  /** @returns `too-many` while so many run that this one would be too many; `stopping` once the process stops. */
  begin(start: (waiting: Waiting) => Work<Progress>): Job<Progress> | 'too-many' | 'stopping' {
    if (this.#isStopping) return 'stopping';
    const running = this.list().filter(({ state }) => state === 'running');
    if (running.length >= mostRunning) return 'too-many';
    const job = new RunningJob(start, this.#deps);
    this.#jobs.set(job.id, job);
    for (const [id, old] of this.#jobs) {
      if (this.#jobs.size <= mostRemembered) break;
      if (old.told.state !== 'running') this.#jobs.delete(id);
    }
    return job.told;
  }

  /** The last first. */
  list(): readonly Job<Progress>[] {
    return [...this.#jobs.values()].map(({ told }) => told).toReversed();
  }

  get(id: string): Job<Progress> | undefined {
    return this.#jobs.get(id)?.told;
  }

  /** Cancels a job, and waits for its end. One that has ended stays as it is. @throws the signal's reason when it aborts before. */
  async cancel(id: string, { signal }: Waiting): Promise<Job<Progress> | undefined> {
    const job = this.#jobs.get(id);
    job?.cancel();
    if (job) await abortable(job.ended, signal);
    return job?.told;
  }

  /** Cancels all jobs and waits for their ends. From now on none can begin. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    const jobs = [...this.#jobs.values()];
    for (const job of jobs) job.cancel();
    await Promise.all(jobs.map(({ ended }) => ended));
  }
}

class RunningJob<Progress> {
  readonly id: string;
  /** Resolves when it has ended. Never rejects. */
  readonly ended: Promise<void>;
  readonly #startedAtMs: number;
  readonly #cancelling = new AbortController();
  #progress: () => Progress;
  #end: { readonly state: Exclude<JobState, 'running'>; readonly atMs: number } | undefined;

  constructor(start: (waiting: Waiting) => Work<Progress>, deps: JobsDeps) {
    const { clock, newId } = deps;
    this.id = newId();
    this.#startedAtMs = clock.now();
    const { progress, ended } = start({ signal: this.#cancelling.signal });
    this.#progress = progress;
    this.ended = ended.then(
      () => this.#endAs('done', deps),
      (cause: unknown) => this.#failed(cause, deps),
    );
  }

  get told(): Job<Progress> {
    const { state = 'running', atMs } = this.#end ?? {};
    return { id: this.id, state, startedAtMs: this.#startedAtMs, endedAtMs: atMs, progress: this.#progress() };
  }

  cancel(): void {
    this.#cancelling.abort(new Error('the job was cancelled'));
  }

  #failed(cause: unknown, deps: JobsDeps): void {
    const isCancelled = this.#cancelling.signal.aborted;
    if (!isCancelled) deps.observer.internalError({ part: 'job', cause });
    this.#endAs(isCancelled ? 'cancelled' : 'failed', deps);
  }

  /** From here on only what it has done is kept, and nothing that it worked with. */
  #endAs(state: Exclude<JobState, 'running'>, { clock }: JobsDeps): void {
    const last = this.#progress();
    this.#progress = () => last;
    this.#end = { state, atMs: clock.now() };
  }
}
