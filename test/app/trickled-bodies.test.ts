import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { asking } from '../support/byte-ranges.ts';
import { ask, caughtUp, open, type OpenAnswer } from '../support/client.ts';
import { type Pump, pump } from '../support/fake-answer.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image, randomBlob } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';

const repository = 'library/app';
const maxRequests = 20;
const at = (resource: string, upstream: string) => `/v2/${repository}/${resource}?ns=${upstream}`;

interface Started {
  readonly blobBytes: number;
  readonly afterBytes?: number;
  /** Lets the bytes of the blob go, instead of the gate. */
  readonly flow?: Pump;
  readonly storage?: object;
}

/** A mirror before an upstream that stops within the body of one blob, and a good one. */
async function started({ blobBytes, afterBytes = 100_000, flow, storage = {} }: Started) {
  const [slow, good] = [await startFakeRegistry(), await startFakeRegistry()];
  const [cached, wanted] = [image({ name: 'cached' }), image({ name: 'wanted' })];
  slow.content.add(repository, 'latest', cached);
  good.content.add(repository, 'latest', wanted);
  const blob = randomBlob(blobBytes, 'trickled');
  slow.content.addBlob(repository, blob);
  const app = await startApp({
    defaultUpstream: 'good.test',
    upstreams: { 'good.test': { url: good.url }, 'slow.test': { url: slow.url } },
    clients: { maxRequests },
    storage,
  });
  await ask(app, at('manifests/latest', 'slow.test'));
  const flowing = gate();
  slow.script({ path: new RegExp(blob.digest) }, flow ? { pump: flow } : { holdBody: { afterBytes, until: flowing } });
  const path = at(`blobs/${blob.digest}`, 'slow.test');
  const rejected = async () => (await app.metrics()).sum('layerwell_http_rejected_total', { reason: 'upstream' });
  return { app, slow, cached, wanted, blob, path, flowing, rejected };
}

const kinds = [
  { what: 'a running download', mirror: { blobBytes: 200_000 } },
  { what: 'a blob that the store has no room for', mirror: { blobBytes: 2_000_000, storage: { maxSize: '1MiB' } } },
];

test.each(kinds)(
  'clients that read $what which its upstream stops sending take half of the requests, and leave the rest to others',
  async ({ mirror }) => {
    const { app, cached, wanted, blob, path, flowing, rejected } = await started(mirror);
    const reading: OpenAnswer[] = [];
    // One after another: as many may not wait for the headers at the same time.
    for (let client = 0; client < maxRequests; client += 1) reading.push(await open(app, path));
    const ends = reading.map((answer) =>
      answer.rest().then(
        (bytes) => bytes.equals(blob.bytes),
        () => 'cut',
      ),
    );

    await expect.poll(async () => (await ask(app, '/v2/')).status, { timeout: 20_000 }).toBe(200);

    expect((await ask(app, at('manifests/latest', 'good.test'))).status).toBe(200);
    for (const { digest } of wanted.blobs) {
      expect((await ask(app, at(`blobs/${digest}`, 'good.test'))).status).toBe(200);
    }
    const hit = await ask(app, at(`manifests/${cached.manifest.digest}`, 'slow.test'));
    expect(hit).toMatchObject({ status: 200, cache: 'hit' });
    expect(await ask(app, path)).toMatchObject({ status: 503, headers: { 'retry-after': '2' } });
    await expect.poll(rejected).toBeGreaterThan(maxRequests / 2);
    flowing.open();
    expect((await Promise.all(ends)).filter((end) => end === true)).toHaveLength(maxRequests / 2);
  },
);

test('clients of an upstream that keeps sending are all served, also more than half of the requests', async () => {
  const { app, blob, path, flowing, rejected } = await started({ blobBytes: 200_000 });
  const first = await open(app, path);
  const joined = await Promise.all(Array.from({ length: maxRequests - 3 }, () => open(app, path)));
  flowing.open();
  const reading = [first, ...joined];
  for (const answer of reading) expect((await answer.rest()).equals(blob.bytes)).toBe(true);
  expect(await rejected()).toBe(0);
});

test('clients that wait for the end of a blob while its upstream keeps sending are all served', async () => {
  const flow = pump();
  flow.release(100_000);
  const { app, blob, path, rejected } = await started({ blobBytes: 2_000_000, flow });
  const first = await open(app, path); // Since then the others wait for bytes only, not for the upstream's headers.
  const clients = Array.from({ length: maxRequests - 5 }, () => ask(app, path, asking([1_500_000, 1_500_099])));
  const answers = Promise.all(clients);
  answers.catch(() => {}); // It is awaited below.
  for (let sent = 100_000; sent < 1_500_000; sent += 100_000) {
    flow.release(100_000);
    await setTimeout(400); // The waiting is measured in real time.
  }
  flow.release(1_000_000);
  for (const { body } of await answers) expect(body).toEqual(blob.bytes.subarray(1_500_000, 1_500_100));
  expect((await first.rest()).equals(blob.bytes)).toBe(true);
  expect(await rejected()).toBe(0);
});

test('after a pause of its upstream, clients that read a blob leave their share of the requests to others again', async () => {
  const flow = pump();
  flow.release(100_000);
  const { app, cached, path } = await started({ blobBytes: 2_000_000, flow });
  const reading: OpenAnswer[] = [];
  for (let client = 0; client < maxRequests / 2; client += 1) reading.push(await open(app, path));
  const statusOfUncached = async () =>
    (await ask(app, at(`blobs/${digestOf(Buffer.from('uncached'))}`, 'slow.test'))).status;
  // All are slow before another request waits for the upstream too: beside it, one of them would be cut. Their timers run in this process.
  await setTimeout(4_000);
  expect(await statusOfUncached()).toBe(503);
  flow.release(1_000_000);
  await Promise.all(reading.map((answer) => answer.read(1_000_000)));
  for (const { digest } of cached.blobs) {
    expect((await ask(app, at(`blobs/${digest}`, 'slow.test'))).status).toBe(200);
  }
  flow.release(2_000_000);
  for (const answer of reading) await answer.rest();
});

test('clients of a small blob that its upstream stops sending wait for it, and leave others their share', async () => {
  const { app, slow, wanted, path, flowing, rejected } = await started({ blobBytes: 60_000, afterBytes: 100 });
  const statuses: number[] = [];
  const clients = 2 * maxRequests;
  const askOnce = async () => statuses.push((await ask(app, path)).status);
  const first = askOnce();
  await expect.poll(() => slow.seen('GET', /blobs/)[0]?.sentBytes).toBe(100);
  await caughtUp(app);
  const asked = [first, ...Array.from({ length: clients - 1 }, askOnce)];
  const refused = clients - maxRequests / 2;
  await expect.poll(() => statuses).toEqual(Array.from({ length: refused }, () => 503));
  expect(await rejected()).toBe(refused);
  for (const { digest } of wanted.blobs) {
    expect((await ask(app, at(`blobs/${digest}`, 'good.test'))).status).toBe(200);
  }
  flowing.open();
  await Promise.all(asked);
  expect(statuses.slice(refused)).toEqual(Array.from({ length: maxRequests / 2 }, () => 200));
});
