import { expect, test } from 'vitest';
import { ask, isComplete } from '../support/client.ts';
import type { Fault } from '../support/fake-answer.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image, randomBlob } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';

const repository = 'library/app';
const blobs = /blobs/;
const blobPath = (digest: string): string => `/v2/${repository}/blobs/${digest}`;
const html = Buffer.from('<html><body>Please log in</body></html>'.repeat(100));
/** More than is withheld until the whole is verified. */
const bytes = 300_000;

async function started(storage: object = {}) {
  const [mirror, registry] = [await startFakeRegistry(), await startFakeRegistry()];
  const mirrors = [{ url: mirror.url }];
  const app = await startApp({ storage, upstreams: { 'docker.io': { url: registry.url, mirrors } } });
  const add = (name: string) => {
    const blob = randomBlob(bytes, name);
    for (const one of [mirror, registry]) one.content.addBlob(repository, blob);
    return blob;
  };
  return { mirror, registry, app, add };
}

const lies: readonly { readonly what: string; readonly fault: Fault }[] = [
  { what: 'other bytes', fault: { body: (honest) => Buffer.alloc(honest.length, 'x') } },
  { what: 'a page of HTML', fault: { body: () => html, headers: { 'content-type': 'text/html' } } },
  { what: 'too little, and says so', fault: { body: (honest) => honest.subarray(0, 100_000) } },
  { what: 'too little in chunks', fault: { body: (honest) => honest.subarray(0, 100_000), contentLength: 'absent' } },
];

test.each(lies)('a mirror that sends $what for a blob is not asked for that blob again', async ({ fault }) => {
  const { mirror, registry, app, add } = await started();
  const blob = add('one');
  mirror.script({ path: blobs }, fault);

  // A small one is verified before anything is sent, a large one is cut.
  const first = await ask(app, blobPath(blob.digest)).catch(() => undefined);
  expect(first?.status ?? 502).toBe(502);
  await app.quiet();
  mirror.forgetRequests();
  const answer = await ask(app, blobPath(blob.digest));

  expect(answer.status).toBe(200);
  expect(answer.body.equals(blob.bytes)).toBe(true);
  expect(mirror.count('GET', blobs)).toBe(0);
  // From its beginning: no byte of the mirror's is reused.
  expect(registry.seen('GET', blobs).map(({ headers }) => headers.range)).toEqual([undefined]);
});

test('a mirror that sends nothing for a blob fails no pull: the registry is asked at once', async () => {
  const { mirror, app, add } = await started();
  const blob = add('one');
  mirror.script({ path: blobs }, { body: () => Buffer.alloc(0) });

  const answer = await ask(app, blobPath(blob.digest));

  expect(answer.status).toBe(200);
  expect(answer.body.equals(blob.bytes)).toBe(true);
});

test('without room to store, a mirror that sends wrong data is skipped too', async () => {
  const { mirror, app, add } = await started({ maxSize: '100KiB' });
  const blob = add('one');
  mirror.script({ path: blobs }, { body: (honest) => Buffer.alloc(honest.length, 'x') });

  expect(await isComplete(app, blobPath(blob.digest))).toBe(false);
  const answer = await ask(app, blobPath(blob.digest));

  expect(answer.status).toBe(200);
  expect(answer.body.equals(blob.bytes)).toBe(true);
});

test('a mirror that sent three blobs wrong is asked for no content for ten minutes', async () => {
  const { mirror, app, add } = await started();
  mirror.script({ path: blobs }, { body: (honest) => Buffer.alloc(honest.length, 'x') });
  for (const name of ['a', 'b', 'c']) {
    expect(await isComplete(app, blobPath(add(name).digest))).toBe(false);
    await app.quiet();
  }
  mirror.clearScripts();
  mirror.forgetRequests();

  expect((await ask(app, blobPath(add('d').digest))).status).toBe(200);
  expect(mirror.count()).toBe(0);

  app.clock.advance(10 * 60_000);
  expect((await ask(app, blobPath(add('e').digest))).status).toBe(200);
  expect(mirror.count('GET', blobs)).toBe(1);
});

test('a manifest that a mirror sends wrong is fetched from the registry, and the mirror is not asked for it again', async () => {
  const { mirror, registry, app } = await started();
  const built = image();
  for (const one of [mirror, registry]) one.content.add(repository, '1', built);
  mirror.script({ path: /manifests/ }, { body: () => html });
  const path = `/v2/${repository}/manifests/${built.manifest.digest}`;
  expect((await ask(app, path)).status).toBe(200);
  expect((await ask(app, path)).body.equals(built.manifest.bytes)).toBe(true);
  expect(mirror.count('GET', /manifests/)).toBe(1);
});
