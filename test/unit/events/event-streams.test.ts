import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { expect, test, vi } from 'vitest';
import { eventOf } from '../../../src/events/event.ts';
import { EventStreams } from '../../../src/events/event-streams.ts';
import { maxRecentCharacters, maxRecentEvents, RecentEvents } from '../../../src/events/recent-events.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const about = { source: 'urn:test', clock: new ManualClock() };
const quarantined = (digest = 'sha256:00') =>
  eventOf({ type: 'io.layerwell.content.quarantined', subject: digest, data: { digest, source: 'read' } }, about);

test('a thousand events are kept, and of long ones a mebibyte', () => {
  const recent = new RecentEvents();
  for (let count = 0; count < maxRecentEvents + 10; count += 1) recent.add(quarantined());
  expect([recent.first, recent.next]).toEqual([11, maxRecentEvents + 11]);
  const long = quarantined(`sha256:${'a'.repeat(maxRecentCharacters / 4)}`);
  for (let count = 0; count < 10; count += 1) recent.add(long);
  expect(recent.next - recent.first).toBeLessThan(4);
  expect(recent.after(long.id)).toBe(recent.next);
  expect(recent.after('other')).toBeUndefined();
});

test('a listener that does not keep up is ended, and the others go on', async () => {
  const recent = new RecentEvents();
  const streams = new EventStreams({ recent });
  const [slow, quick] = [streams.listen({ after: undefined }), streams.listen({ after: undefined })];
  const taken = quick?.pipe(new PassThrough()).resume();
  const closed = slow && once(slow, 'close');
  for (let count = 0; count < 3 * maxRecentEvents; count += 1) {
    recent.add(quarantined());
    streams.wake();
    if (count % 100 === 0) await new Promise(setImmediate);
  }
  await closed;
  expect({ slow: slow?.destroyed, quick: quick?.destroyed, count: streams.count }).toEqual({
    slow: true,
    quick: false,
    count: 1,
  });
  expect(slow?.readableLength).toBeLessThan(32 * 1024);
  taken?.destroy();
  streams.stop();
});

test('an idle stream says that it lives; one whose reader takes nothing is ended', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  try {
    const recent = new RecentEvents();
    const streams = new EventStreams({ recent });
    const stream = streams.listen({ after: undefined });
    const text: string[] = [];
    stream?.on('data', (piece: Buffer) => text.push(piece.toString()));
    await new Promise(setImmediate);
    vi.advanceTimersByTime(15_000);
    await new Promise(setImmediate);
    expect(text).toEqual(['retry: 3000\n\n', ': alive\n\n']);

    stream?.pause();
    const long = quarantined(`sha256:${'a'.repeat(64 * 1024)}`);
    for (let count = 0; count < 3; count += 1) recent.add(long);
    streams.wake();
    for (let beat = 0; beat < 6; beat += 1) vi.advanceTimersByTime(15_000);
    expect(stream?.destroyed).toBe(true);
  } finally {
    vi.useRealTimers();
  }
});

test('a stream whose reader takes nothing does not keep the mirror from stopping', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const recent = new RecentEvents();
    const streams = new EventStreams({ recent });
    const stuck = streams.listen({ after: undefined });
    recent.add(quarantined());
    streams.stop();
    expect(stuck?.destroyed).toBe(false);
    vi.advanceTimersByTime(1_000);
    expect(stuck?.destroyed).toBe(true);
    expect(streams.listen({ after: undefined })).toBeUndefined();
  } finally {
    vi.useRealTimers();
  }
});
