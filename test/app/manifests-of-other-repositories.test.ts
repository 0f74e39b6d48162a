import { expect, test } from 'vitest';
import { ociManifest } from '../../src/oci/media-types.ts';
import { ask, type WholeAnswer } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { type Content, content, descriptorOf, image, randomBlob, referrerOf } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const holder = 'team/holder';
const other = 'team/other';
const blobs = /\/blobs\//;

/** What a client can tell an answer by, without what names the blob and the moment. */
function seenOf({ status, headers, body }: WholeAnswer, { digest }: Pick<Content, 'digest'>): object {
  const { date: _, 'x-request-id': __, ...told } = headers;
  const text = status < 300 ? body.length : body.toString();
  return JSON.parse(JSON.stringify({ status, told, text }).replaceAll(digest, 'DIGEST'));
}

const cached = randomBlob(200_000, 'cached');

test('a manifest cached for another repository is answered like one that is not cached, and the upstream is asked where the repository has it', async () => {
  const upstream = await startFakeRegistry();
  const held = image();
  upstream.content.add(holder, '1', held);
  upstream.content.addBlob(other, cached);
  const app = await startApp(mirrorOf(upstream));
  await pullAll(app, holder, '1');
  const nowhere = image({ name: 'nowhere' }).manifest;
  for (const method of ['GET', 'HEAD']) {
    const answers = [];
    for (const manifest of [held.manifest, nowhere]) {
      const answer = await ask(app, `/v2/${other}/manifests/${manifest.digest}`, { method });
      expect(answer.status).toBe(404);
      answers.push(seenOf(answer, manifest));
    }
    expect(answers[0]).toEqual(answers[1]);
  }
  upstream.forgetRequests();
  const third = 'team/third';
  upstream.content.addManifest(third, held.manifest);
  const answer = await ask(app, `/v2/${third}/manifests/${held.manifest.digest}`);
  expect(answer).toMatchObject({ status: 200, cache: 'fwd=uri-miss; fwd-status=200; stored', headers: { age: '0' } });
  expect(upstream.requests.map(({ method }) => method)).toEqual(['GET']);
});

test('an image whose layers are cached for another repository of the upstream causes one request, for its manifest', async () => {
  const upstream = await startFakeRegistry();
  const held = image();
  for (const repository of [holder, other]) upstream.content.add(repository, '1', held);
  const app = await startApp(mirrorOf(upstream));
  await pullAll(app, holder, '1');
  await app.restart(); // What was noted is in the index.
  upstream.forgetRequests();
  await pullAll(app, other, '1');
  expect(upstream.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([`GET /v2/${other}/manifests/1`]);
});

test('links are never borrowed from another registry: each asks its own', async () => {
  const [one, two] = [await startFakeRegistry(), await startFakeRegistry()];
  const held = image();
  one.content.add(holder, '1', held);
  two.content.addManifest(holder, held.manifest);
  two.content.tag(holder, '1', held.manifest.digest);
  const app = await startApp({
    defaultUpstream: 'one.test',
    upstreams: { 'one.test': { url: one.url }, 'two.test': { url: two.url } },
  });
  await pullAll(app, holder, '1');
  await app.restart();
  expect((await ask(app, `/v2/${holder}/manifests/1?ns=two.test`)).status).toBe(200);
  for (const { digest } of held.blobs) {
    expect((await ask(app, `/v2/${holder}/blobs/${digest}?ns=two.test`)).status).toBe(404);
  }
  expect(two.seen(undefined, blobs).map(({ method }) => method)).toEqual(['GET', 'GET']);
});

test('a manifest that names content as its subject, or as a foreign layer, gives no access to it', async () => {
  const upstream = await startFakeRegistry();
  const held = image();
  upstream.content.add(holder, '1', held);
  const [config, layer] = held.blobs;
  if (!config || !layer) throw new Error('an image has a config and a layer');
  const claim = content(
    ociManifest,
    Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: ociManifest,
        config: descriptorOf(randomBlob(5)),
        layers: [{ ...descriptorOf(layer), urls: ['https://elsewhere.test/layer'] }],
      }),
    ),
  );
  for (const manifest of [claim, referrerOf(held.manifest).manifest]) upstream.content.addManifest(other, manifest);
  const app = await startApp(mirrorOf(upstream));
  await pullAll(app, holder, '1');
  for (const manifest of [claim, referrerOf(held.manifest).manifest]) {
    expect((await ask(app, `/v2/${other}/manifests/${manifest.digest}`)).status).toBe(200);
  }
  await app.restart();
  expect((await ask(app, `/v2/${other}/manifests/${held.manifest.digest}`)).status).toBe(404);
  expect((await ask(app, `/v2/${other}/blobs/${layer.digest}`)).status).toBe(404);
});
