import type { IncomingMessage, ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { createRegistryApp } from '../../../../src/http/registry/registry-app.ts';
import { ReadBuffers } from '../../../../src/http/response/body-pump.ts';
import { Connections } from '../../../../src/http/server/connections.ts';
import { BlobInMemory } from '../../../../src/mirror/blobs/small-blobs.ts';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import type { Mirror } from '../../../../src/mirror/mirror.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { ask } from '../../../support/client.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { serve } from '../../../support/serve.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

const bytes = Buffer.from('{}');
const manifest = {
  digest: digestOf(bytes),
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  size: bytes.byteLength,
  bytes,
  cache: { word: 'hit' },
  confirmedAtMs: 0,
};

const source = new BlobInMemory(bytes);
const blob = { ...manifest, source, isSequential: false, firstServedAtMs: 0 };

/** The app over a mirror that looks manifests up, and opens blobs, as the test says. */
async function appOver(look: () => object, open: () => object = () => blob) {
  const mirror: Partial<Record<keyof Mirror, () => object | undefined>> = {
    locate: () => ({ upstream: { label: 'docker.io' }, repositoryId: { upstream: 'docker.io', repository: 'app' } }),
    manifest: look,
    blob: open,
    blobUrl: () => undefined,
  };
  const memory = new MemoryBudget({ maxBytes: 1024 * 1024 });
  const bugs: unknown[] = [];
  const lines: object[] = [];
  const app = createRegistryApp({
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- these requests ask for nothing else of it
    mirror: mirror as unknown as Mirror,
    clock: new ManualClock(),
    buffers: new ReadBuffers({ memory }),
    memory,
    observer: new RecordingObserver(),
    log: { request: (line) => lines.push(line) },
    report: (bug) => bugs.push(bug),
    limits: { maxRequests: 10, connections: new Connections() },
    onClientCredentials: () => {},
  });
  const handle = app.callback();
  const answering: unknown[] = [];
  const listeners: number[] = [];
  const port = await serve((request: IncomingMessage, response: ServerResponse) => {
    const before = response.listenerCount('finish');
    answering.push(handle(request, response));
    listeners.push(response.listenerCount('finish') - before);
  });
  return { served: { url: `http://127.0.0.1:${port}` }, bugs, lines, answering, listeners };
}

test('a manifest in memory is answered without a promise, and without a listener for the end of the answer', async () => {
  const { served, answering, listeners } = await appOver(() => manifest);
  const answer = await ask(served, '/v2/app/manifests/1');
  expect(answer).toMatchObject({ status: 200, body: bytes });
  expect(answering).toEqual([undefined]);
  expect(listeners).toEqual([0]);
});

test('a blob in memory is answered likewise, and so is the one that must be waited for', async () => {
  const path = `/v2/app/blobs/${blob.digest}`;
  const atOnce = await appOver(() => manifest);
  expect(await ask(atOnce.served, path)).toMatchObject({ status: 200, body: bytes });
  expect(atOnce.answering).toEqual([undefined]);
  expect(atOnce.listeners).toEqual([0]);
  const later = await appOver(
    () => manifest,
    async (): Promise<object> => blob,
  );
  expect(await ask(later.served, path)).toMatchObject({ status: 200, body: bytes });
});

test('a part of a blob in memory, and several parts, are answered', async () => {
  const { served } = await appOver(() => manifest);
  const path = `/v2/app/blobs/${blob.digest}`;
  expect(await ask(served, path, { headers: { range: 'bytes=1-1' } })).toMatchObject({
    status: 206,
    body: Buffer.from('}'),
  });
  const parts = await ask(served, path, { headers: { range: 'bytes=0-0,1-1' } });
  expect(parts.status).toBe(206);
  expect(parts.headers['content-type']).toContain('multipart/byteranges');
  expect(await ask(served, path, { headers: { range: 'bytes=7-' } })).toMatchObject({ status: 416 });
});

test('a manifest that must be waited for is answered likewise', async () => {
  const { served } = await appOver(async (): Promise<typeof manifest> => manifest);
  expect(await ask(served, '/v2/app/manifests/1')).toMatchObject({ status: 200, body: bytes });
});

test('an error that is known at once has its status', async () => {
  const { served, bugs } = await appOver(() => manifest);
  expect(await ask(served, '/v2/app/manifests/1', { method: 'PUT' })).toMatchObject({ status: 405 });
  expect(await ask(served, '/v2/')).toMatchObject({ status: 200 });
  expect(await ask(served, '/else')).toMatchObject({ status: 404 });
  expect(bugs).toEqual([]);
});

test.each([
  {
    when: 'at once',
    look: () => {
      throw new TypeError('a bug');
    },
  },
  { when: 'later', look: () => Promise.reject(new TypeError('a bug')) },
])('a bug that shows $when is answered with 500 and reported', async ({ look }) => {
  const { served, bugs, lines } = await appOver(look);
  expect(await ask(served, '/v2/app/manifests/1')).toMatchObject({ status: 500 });
  expect(bugs).toEqual([expect.any(TypeError)]);
  expect(lines).toMatchObject([{ status: 500 }]);
});
