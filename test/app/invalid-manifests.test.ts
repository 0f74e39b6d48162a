import { describe, expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { ociManifest } from '../../src/oci/media-types.ts';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { content, image } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const path = (reference: string): string => `/v2/${repository}/manifests/${reference}`;
const manifests = { path: /manifests/ };
const built = image();

async function started(more: MirrorConfig = {}) {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', built);
  return { upstream, app: await startApp(mirrorOf(upstream, more)) };
}

/** Bodies with the type of a manifest that a failing upstream, or a proxy in between, sends. */
const foreign: Readonly<Record<string, string>> = {
  'an empty body': '',
  'a cut manifest': built.manifest.bytes.toString().slice(0, 100),
  'a page of HTML': '<html><body>Please log in</body></html>',
  'an error in JSON': '{"errors":[{"code":"UNKNOWN","message":"try again"}]}',
  'a list': '[]',
};

describe.each(Object.entries(foreign))('%s under the type of a manifest, without a digest', (_, text) => {
  const fault = {
    body: () => Buffer.from(text),
    headers: { 'content-type': ociManifest },
    withoutHeaders: ['docker-content-digest'],
  };

  test('causes 502, and is not stored', async () => {
    const { upstream, app } = await started();
    upstream.script(manifests, fault);
    expect((await ask(app, path('1'))).status).toBe(502);
    expect((await ask(app, path('1'), { method: 'HEAD' })).status).toBe(502);

    upstream.clearScripts();
    app.clock.advance(5_000); // What failed twice is not asked for again at once.
    const answer = await ask(app, path('1'));
    expect(answer.status).toBe(200);
    expect(answer.body.equals(built.manifest.bytes)).toBe(true);
  });

  test('does not replace what the tag pointed to before', async () => {
    const { upstream, app } = await started({ freshness: { tag: '0s' } });
    expect((await ask(app, path('1'))).status).toBe(200);
    upstream.script(manifests, fault);

    const answer = await ask(app, path('1'));
    expect(answer.status).toBe(200);
    expect(answer.cache).toContain('detail=stale');
    expect(answer.body.equals(built.manifest.bytes)).toBe(true);
  });
});

/** Media types that must not become a header. */
const badTypes: Readonly<Record<string, string>> = {
  'an emoji': 'application/vnd.\u{1f600}+json',
  'a control character': 'application/vnd.a\u0007b+json',
  'a line break': 'application/vnd.a\r\nSet-Cookie: x+json',
  'a megabyte': `application/vnd.${'a'.repeat(1_000_000)}+json`,
};

test.each(Object.entries(badTypes))(
  'a manifest whose mediaType has %s causes 502 if the upstream sends no type of a manifest',
  async (_, mediaType) => {
    const { upstream, app } = await started();
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType }));
    const odd = content('text/plain', bytes);
    upstream.content.addManifest(repository, odd);
    upstream.content.tag(repository, '2', odd.digest);
    for (const reference of ['2', odd.digest]) {
      for (const method of ['GET', 'HEAD']) expect((await ask(app, path(reference), { method })).status).toBe(502);
    }
  },
);

test.each(Object.entries(badTypes))(
  'a manifest with %s in the media types of its layers is served as it came',
  async (_, mediaType) => {
    const { upstream, app } = await started();
    const layers = built.blobs.map(({ digest, bytes }) => ({ mediaType, digest, size: bytes.length }));
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociManifest, layers }));
    const odd = content(ociManifest, bytes);
    upstream.content.addManifest(repository, odd);
    upstream.content.tag(repository, '2', odd.digest);
    for (const reference of ['2', odd.digest]) {
      const answer = await ask(app, path(reference));
      expect(answer).toMatchObject({ status: 200, headers: { 'content-type': ociManifest } });
      expect(answer.body.equals(bytes)).toBe(true);
    }
  },
);

test('content requested by digest is served unchanged, even if it is not a known manifest type', async () => {
  const { upstream, app } = await started();
  const bytes = Buffer.from('no JSON at all');
  upstream.content.addManifest(repository, content(ociManifest, bytes));
  const answer = await ask(app, path(digestOf(bytes)));
  expect(answer).toMatchObject({ status: 200, headers: { 'content-type': ociManifest } });
  expect(answer.body.equals(bytes)).toBe(true);
});

test('a manifest that is shorter than its Content-Length is a failed transfer', async () => {
  const { upstream, app } = await started();
  upstream.script(manifests, { cutAfterBytes: 50 });
  expect((await ask(app, path('1'))).status).toBe(503);
});
