import { expect, test } from 'vitest';
import {
  type Job,
  Jobs,
  mostRemembered,
  mostRunning,
  type Work,
} from '../../../../../src/mirror/administration/jobs/jobs.ts';
import type { Waiting } from '../../../../../src/mirror/ports/waiting.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';

const never = new AbortController();

function jobsOf() {
  const clock = new ManualClock(0);
  const failures: unknown[] = [];
  let ids = 0;
  const jobs = new Jobs<number>({
    clock,
    observer: { internalError: ({ cause }) => failures.push(cause) },
    newId: () => `job-${(ids += 1)}`,
  });
  return { jobs, clock, failures };
}

/** Work whose progress and end a test chooses. It ends when it is cancelled. */
function workOf() {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const state = { progress: 0 };
  const start = ({ signal }: Waiting): Work<number> => {
    signal.addEventListener('abort', () => reject(signal.reason));
    return { progress: () => state.progress, ended: promise };
  };
  return { start, state, end: resolve, fail: reject };
}

function begun(job: Job<number> | string): Job<number> {
  if (typeof job === 'string') throw new Error(job);
  return job;
}

test('a job tells how far it is, and when it has ended what it has done', async () => {
  const { jobs, clock } = jobsOf();
  const work = workOf();
  const { id } = begun(jobs.begin(work.start));
  expect(jobs.get(id)).toEqual({ id: 'job-1', state: 'running', startedAtMs: 0, endedAtMs: undefined, progress: 0 });
  work.state.progress = 7;
  expect(jobs.get(id)?.progress).toBe(7);
  clock.advance(5);
  work.end();
  await expect.poll(() => jobs.get(id)?.state).toBe('done');
  work.state.progress = 8;
  expect(jobs.get(id)).toMatchObject({ endedAtMs: 5, progress: 7 });
});

test('a job that fails by a bug is reported, and told as failed', async () => {
  const { jobs, failures } = jobsOf();
  const work = workOf();
  const { id } = begun(jobs.begin(work.start));
  const bug = new Error('bug');
  work.fail(bug);
  await expect.poll(() => jobs.get(id)?.state).toBe('failed');
  expect(failures).toEqual([bug]);
});

test('a cancelled job has ended when that is answered, and is no failure; cancelling it again changes nothing', async () => {
  const { jobs, failures } = jobsOf();
  const { id } = begun(jobs.begin(workOf().start));
  expect(await jobs.cancel(id, never)).toMatchObject({ state: 'cancelled' });
  expect(await jobs.cancel(id, never)).toMatchObject({ state: 'cancelled' });
  expect(await jobs.cancel('unknown', never)).toBeUndefined();
  expect(failures).toEqual([]);
});

test('who waits for the end of a job that does not end may leave', async () => {
  const { jobs } = jobsOf();
  const { id } = begun(jobs.begin(() => ({ progress: () => 0, ended: new Promise(() => {}) })));
  const leaving = new AbortController();
  const cancelled = jobs.cancel(id, leaving);
  leaving.abort(new Error('left'));
  await expect(cancelled).rejects.toThrow('left');
});

test('at most eight run; the ninth can begin when one has ended', async () => {
  const { jobs } = jobsOf();
  const works = Array.from({ length: mostRunning }, workOf);
  for (const work of works) begun(jobs.begin(work.start));
  expect(jobs.begin(workOf().start)).toBe('too-many');
  works[3]?.end();
  await expect.poll(() => typeof jobs.begin(workOf().start)).toBe('object');
});

test('a hundred are remembered, the last first; one that runs is never forgotten', async () => {
  const { jobs } = jobsOf();
  const first = begun(jobs.begin(workOf().start));
  for (let nth = 0; nth < mostRemembered + 5; nth += 1) {
    const work = workOf();
    const { id } = begun(jobs.begin(work.start));
    work.end();
    await expect.poll(() => jobs.get(id)?.state).toBe('done');
  }
  const told = jobs.list();
  expect(told).toHaveLength(mostRemembered);
  expect(told[0]?.id).toBe(`job-${mostRemembered + 6}`);
  expect(told.at(-1)).toMatchObject({ id: first.id, state: 'running' });
});

test('when the process stops all jobs are cancelled, and none begins', async () => {
  const { jobs } = jobsOf();
  const { id } = begun(jobs.begin(workOf().start));
  await jobs.stop();
  expect(jobs.get(id)?.state).toBe('cancelled');
  expect(jobs.begin(workOf().start)).toBe('stopping');
});
