import { pino } from 'pino';
import { expect, test } from 'vitest';
import { dataSchemas, type Occurrence } from '../../../src/events/event.ts';
import { gatheredForMs } from '../../../src/events/evicted-content.ts';
import { Occurrences } from '../../../src/events/occurrences.ts';
import type { Observer } from '../../../src/mirror/ports/observer.ts';
import type { RecordKey } from '../../../src/mirror/ports/record-store.ts';
import { type Digest, parseDigest } from '../../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../../src/oci/reference.ts';
import { createMetrics } from '../../../src/telemetry/metrics.ts';
import { gate } from '../../support/gate.ts';

const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/app') };
const digestNo = (number: number): Digest => parseDigest(`sha256:${number.toString(16).padStart(64, '0')}`);

/** What is told, and the gate of the time in which evictions are gathered. */
function watch() {
  const told: Occurrence[] = [];
  const gathered = gate();
  const waits: number[] = [];
  const occurrences = new Occurrences({
    tell: (occurrence) => {
      dataSchemas[occurrence.type].parse(occurrence.data);
      told.push(occurrence);
    },
    wait: (ms) => {
      waits.push(ms);
      return gathered.opened;
    },
  });
  return { told, gathered, waits, occurrences, observer: occurrences.observing(silent()) };
}

function silent(): Observer {
  return createMetrics({ version: '', nodeVersion: '', log: { logger: pino({ enabled: false }) } });
}

function evicted(number: number, { isManifest = false } = {}) {
  const link: RecordKey = { kind: isManifest ? 'manifest' : 'blob', repositoryId, digest: digestNo(number) };
  const tag: RecordKey = { kind: 'tag', repositoryId, tag: parseTag(`v${number}`) };
  const content = { isManifest, records: isManifest ? [link, tag] : [link] };
  return { reason: 'lru', bytes: 10, content } as const;
}

test('an eviction of ten thousand blobs and five hundred images is one event, which lists a hundred of them', async () => {
  const { told, gathered, waits, observer } = watch();
  for (let number = 0; number < 10_000; number += 1) observer.evicted(evicted(number));
  for (let number = 0; number < 500; number += 1) observer.evicted(evicted(number, { isManifest: true }));
  expect(told).toEqual([]);
  expect(waits).toEqual([gatheredForMs]);

  gathered.open();
  await gathered.opened;
  await Promise.resolve();
  expect(told).toHaveLength(1);
  expect(told[0]).toMatchObject({
    type: 'io.layerwell.content.evicted',
    subject: 'store',
    data: { reason: 'lru', manifests: 500, blobs: 10_000, bytes: 105_000, isComplete: false },
  });
  const { images, tags } = Object(told[0]?.data);
  expect(images).toHaveLength(100);
  expect(images[0]).toBe(`docker.io/library/app@${digestNo(0)}`);
  expect(tags[99]).toBe('docker.io/library/app:v99');
  expect(JSON.stringify(told).length).toBeLessThan(64 * 1024);
});

test('an eviction with the longest names stays below 64 KiB', () => {
  const { told, occurrences, observer } = watch();
  const repository = parseRepository(`${'a'.repeat(100)}/${'b'.repeat(100)}`);
  for (let number = 0; number < 200; number += 1) {
    const long = { upstream: 'r'.repeat(200), repository };
    const records: RecordKey[] = [
      { kind: 'manifest', repositoryId: long, digest: digestNo(number) },
      { kind: 'tag', repositoryId: long, tag: parseTag(`t${number}-`.padEnd(128, 'x')) },
    ];
    observer.evicted({ reason: 'purge', bytes: 1, content: { isManifest: true, records } });
  }
  occurrences.flush();
  expect(JSON.stringify(told).length).toBeLessThan(64 * 1024);
  expect(told[0]?.data).toMatchObject({ manifests: 200, isComplete: false });
});

test('each reason for an eviction is an event of its own, and a flush waits for nothing', () => {
  const { told, occurrences, observer } = watch();
  observer.evicted(evicted(1));
  observer.evicted({ ...evicted(2), reason: 'purge' });
  observer.evicted({ reason: 'unused', bytes: 1 }); // Left the shared bucket.
  occurrences.flush();
  occurrences.flush();
  expect(told.map(({ data }) => Object(data).reason)).toEqual(['lru', 'purge']);
});

test('an image that two clients store at the same time is one event; after its eviction it is another', () => {
  const { told, observer } = watch();
  const stored = () =>
    observer.imageStored({ repositoryId, manifest: { digest: digestNo(1), mediaType: 'application/x', size: 5 } });
  stored();
  stored();
  expect(told).toHaveLength(1);
  observer.evicted(evicted(1, { isManifest: true }));
  stored();
  expect(told).toHaveLength(2);
});

test('an upstream is down when its circuit opens, and up when it closes; failed trials are no events', () => {
  const { told, observer } = watch();
  const states = ['open', 'half-open', 'open', 'half-open', 'closed', 'open'] as const;
  for (const state of states) observer.circuitChanged({ upstream: 'docker.io', endpoint: 'registry', state });
  observer.circuitChanged({ upstream: 'docker.io', endpoint: 'mirror', state: 'closed' });
  expect(told.map(({ type }) => type.split('.').at(-1))).toEqual(['down', 'up', 'down']);
  expect(told[0]).toMatchObject({ subject: 'docker.io', data: { upstream: 'docker.io', endpoint: 'registry' } });
});

test('a low rate limit is told once for each account, and again after it recovered', () => {
  const { told, observer } = watch();
  const report = (remaining: number, account = 'anonymous') =>
    observer.rateLimitSeen({ upstream: 'docker.io', account, limit: 100, remaining, windowSeconds: undefined });
  for (const remaining of [50, 10, 9, 8, 15, 9]) report(remaining);
  expect(told).toHaveLength(1);
  report(0, 'basic-1');
  expect(told).toHaveLength(2);
  report(20);
  report(9);
  expect(told).toHaveLength(3);
});
