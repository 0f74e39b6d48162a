import { expect, test } from 'vitest';
import { slotLimits } from '../../../../src/mirror/downloads/slots.ts';
import { Scheduler, type Ticket } from '../../../../src/mirror/downloads/scheduler.ts';
import type { UpstreamError } from '../../../../src/oci/errors.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

/** One download as the scheduler sees it. */
class FakeDownload {
  readonly label: string;
  readonly maxConnections = 128;
  clients = 1;
  isAtDisk = false;
  endedFor: string | undefined;
  readonly progress: string[] = [];
  ticket: Ticket | undefined;

  constructor(label: string) {
    this.label = label;
  }

  hasClients(): boolean {
    return this.clients > 0;
  }

  waitsForUpstream(): boolean {
    return !this.isAtDisk;
  }

  end(reason: UpstreamError): void {
    this.endedFor = reason.message;
  }
}

function startScheduler({ maxConcurrent = 4, maxWaitingPerUpstream = 3 } = {}) {
  const clock = new ManualClock();
  const waiting = new Map<string, number>();
  const scheduler = new Scheduler({
    clock,
    observer: { downloadsWaiting: (event) => void waiting.set(event.upstream, event.waiting) },
    limits: slotLimits(maxConcurrent),
    maxWaitingPerUpstream,
    pace: { minBytesPerSecond: 1_000, windowMs: 3_000 },
  });
  const enter = (label: string): FakeDownload => {
    const download = new FakeDownload(label);
    download.ticket = scheduler.enter(download);
    void download.ticket.admitted.then(() => download.progress.push('asking'));
    return download;
  };
  const answer = (download: FakeDownload): void =>
    void download.ticket?.answered().then(() => download.progress.push('running'));
  return { clock, waiting, scheduler, enter, answer };
}

const turns = () => new Promise((resolve) => setImmediate(resolve));

test('a download that waits for its upstream holds no slot that another upstream needs', async () => {
  const { enter, answer } = startScheduler();
  for (let silent = 0; silent < 3; silent += 1) enter('silent');
  const healthy = [enter('good'), enter('good'), enter('good')];
  healthy.forEach(answer);
  await turns();
  expect(healthy.map(({ progress }) => progress)).toEqual(Array(3).fill(['asking', 'running']));
});

test('one upstream never gets all slots, and its other downloads wait in its own queue', async () => {
  const { enter, answer, waiting } = startScheduler();
  const busy = [enter('busy'), enter('busy'), enter('busy'), enter('busy')];
  busy.slice(0, 3).forEach(answer);
  const other = enter('other');
  answer(other);
  await turns();
  expect(busy.map(({ progress }) => progress.at(-1))).toEqual(['running', 'running', 'running', undefined]);
  expect(other.progress.at(-1)).toBe('running');
  expect(waiting.get('busy')).toBe(1);
  busy[0]?.ticket?.[Symbol.dispose]();
  await turns();
  expect(busy[3]?.progress).toEqual(['asking']);
  expect(waiting.get('busy')).toBe(0);
});

test('an answer waits for a shared slot, and the upstream with the fewest gets the next', async () => {
  const { enter, answer, waiting } = startScheduler();
  const running = [enter('a'), enter('a'), enter('b'), enter('b')];
  running.forEach(answer);
  const [moreOfA, moreOfB] = [enter('a'), enter('b')];
  answer(moreOfA);
  answer(moreOfB);
  await turns();
  expect([moreOfA.progress, moreOfB.progress]).toEqual([['asking'], ['asking']]);
  expect([waiting.get('a'), waiting.get('b')]).toEqual([1, 1]);
  running[3]?.ticket?.[Symbol.dispose]();
  await turns();
  expect([moreOfA.progress, moreOfB.progress]).toEqual([['asking'], ['asking', 'running']]);
});

test('the queue of an upstream is bounded, and does not affect that of another', () => {
  const { enter } = startScheduler();
  for (let index = 0; index < 6; index += 1) enter('busy');
  expect(() => enter('busy')).toThrow('too many downloads of this upstream are waiting');
  expect(() => enter('other')).not.toThrow();
});

test('a download that leaves the queue makes room in it, and is never admitted', async () => {
  const { enter } = startScheduler({ maxConcurrent: 1, maxWaitingPerUpstream: 1 });
  const [first, leaver] = [enter('a'), enter('a')];
  leaver.ticket?.[Symbol.dispose]();
  const next = enter('a');
  first.ticket?.[Symbol.dispose]();
  await turns();
  expect([leaver.progress, next.progress]).toEqual([[], ['asking']]);
});

test('a download of a silent upstream loses its slot while others wait, and a limited number continue without', async () => {
  const { enter, clock, scheduler } = startScheduler({ maxConcurrent: 1, maxWaitingPerUpstream: 10 });
  const downloads = [enter('a'), enter('a'), enter('a')];
  clock.advance(2_999);
  scheduler.settle();
  await turns();
  expect(downloads[1]?.progress).toEqual([]);
  clock.advance(1);
  scheduler.settle();
  await turns();
  expect(downloads.map(({ progress }) => progress.length)).toEqual([1, 1, 0]);
  clock.advance(3_000);
  scheduler.settle();
  expect(downloads.map(({ endedFor }) => endedFor?.includes('minRate') ?? false)).toEqual([true, false, false]);
  scheduler.settle();
  expect(downloads[1]?.endedFor).toBeUndefined(); // One ends for one that waits.
  downloads[0]?.ticket?.[Symbol.dispose]();
  await turns();
  expect(downloads[2]?.progress).toEqual(['asking']);
});

test('a slow disk is not a slow upstream: no download loses its slot for it', () => {
  const { enter, answer, clock, scheduler } = startScheduler({ maxConcurrent: 1 });
  const first = enter('a');
  answer(first);
  first.isAtDisk = true;
  const second = enter('a');
  clock.advance(60_000);
  scheduler.settle();
  expect([first.endedFor, second.progress]).toEqual([undefined, []]);
});

test('for each waiting download one without clients ends', () => {
  const { enter, scheduler } = startScheduler();
  const left = [enter('a'), enter('a'), enter('a')];
  for (const download of left) download.clients = 0;
  enter('a');
  enter('a');
  scheduler.settle();
  expect(left.map(({ endedFor }) => endedFor !== undefined)).toEqual([true, true, false]);
});

test('a download without a slot whose upstream answers late continues without one', async () => {
  const { enter, answer, clock, scheduler } = startScheduler({ maxConcurrent: 1 });
  const [late, next] = [enter('a'), enter('a')];
  clock.advance(3_000);
  scheduler.settle();
  answer(next);
  answer(late);
  await turns();
  expect([late.progress, next.progress]).toEqual(Array(2).fill(['asking', 'running']));
});

test('an upstream without slots gets its guaranteed ones though others hold all, and no more', async () => {
  const { enter, answer } = startScheduler();
  for (const label of ['first', 'second']) for (let nth = 0; nth < 3; nth += 1) answer(enter(label));
  const third = [enter('third'), enter('third')];
  third.forEach(answer);
  await turns();
  expect(third.map(({ progress }) => progress.at(-1))).toEqual(['running', 'asking']);
  third[0]?.ticket?.[Symbol.dispose]();
  await turns();
  expect(third[1]?.progress.at(-1)).toBe('running');
});
