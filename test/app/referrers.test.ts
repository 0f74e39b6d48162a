import { describe, expect, test } from 'vitest';
import { namedBy } from '../../src/oci/manifest.ts';
import { dockerManifestList, ociIndex, ociManifest } from '../../src/oci/media-types.ts';
import { ask } from '../support/client.ts';
import type { Fault } from '../support/fake-answer.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { artifact, image, multiPlatformImage, referrerOf } from '../support/images.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const subject = multiPlatformImage();
const signature = referrerOf(subject.manifest);
const { digest } = subject.manifest;
const api = /\/referrers\//;
const fallbackTag = /\/manifests\/sha256-/;

interface Started {
  readonly upstream: FakeRegistry;
  readonly app: RunningApp;
}

async function started({ referrersApi = false, isSigned = false } = {}): Promise<Started> {
  const upstream = await startFakeRegistry({ referrersApi });
  upstream.content.add(repository, '1', subject, isSigned ? [signature] : []);
  return { upstream, app: await startAppInMemory(mirrorOf(upstream)) };
}

async function referrersAt(app: RunningApp, query = '') {
  const { status, headers, body, cache } = await ask(app, `/v2/${repository}/referrers/${digest}${query}`);
  const { 'content-type': type, 'oci-filters-applied': filters } = headers;
  return { status, type, filters, digests: namedBy(body).map((one) => one.digest), cache };
}

const sends = (body: string | Buffer, type: string): Fault => ({
  status: 200,
  body: () => Buffer.from(body),
  headers: { 'content-type': type },
});
const index = (manifests: unknown, mediaType: string = ociIndex) =>
  JSON.stringify({ schemaVersion: 2, mediaType, manifests });
const html = '<!DOCTYPE html><html><body>Sign in</body></html>';
const child = { mediaType: ociManifest, digest: subject.children[0]?.digest, size: 1 };

const noList: readonly { readonly what: string; readonly fault: Fault }[] = [
  { what: 'the subject itself', fault: sends(subject.manifest.bytes, ociIndex) },
  { what: 'an index that the subject is part of', fault: sends(index([child, { ...child, digest }]), ociIndex) },
  { what: 'a list of another format', fault: sends(index([child], dockerManifestList), dockerManifestList) },
  { what: 'a single manifest', fault: sends(image().manifest.bytes, ociManifest) },
  { what: 'an artifact', fault: sends(artifact().manifest.bytes, ociManifest) },
  { what: 'an index whose entries are no descriptors', fault: sends(index([{ digest: 'x' }, 'y', null]), ociIndex) },
  { what: 'a page of HTML', fault: sends(html, 'text/html; charset=utf-8') },
  { what: 'a page of HTML under the type of an index', fault: sends(html, ociIndex) },
  { what: 'an empty object', fault: sends('{}', 'application/json') },
  { what: 'an error with status 200', fault: sends('{"errors":[{"code":"UNSUPPORTED"}]}', 'application/json') },
  { what: 'nothing', fault: sends('', ociIndex) },
  { what: 'a redirect to where people log in', fault: { redirectTo: () => '/users/sign_in' } },
  { what: 'a redirect to a host that is not asked', fault: { redirectTo: () => 'http://10.0.0.1/login' } },
  { what: 'redirects in circles', fault: { redirectTo: (path) => path } },
  { what: '405', fault: { status: 405 } },
  { what: 'nothing, with 204', fault: { status: 204 } },
];

describe('a registry without the referrers API', () => {
  test.each(noList)('that answers $what for the fallback tag has no referrers', async ({ fault }) => {
    const { upstream, app } = await started();
    upstream.script({ path: /sign_in/ }, sends(html, 'text/html'));
    upstream.script({ path: fallbackTag }, fault);
    expect(await referrersAt(app)).toMatchObject({ status: 200, type: ociIndex, filters: undefined, digests: [] });
    expect(await referrersAt(app, '?artifactType=a')).toMatchObject({ filters: 'artifactType', digests: [] });
    expect(upstream.count('GET', api)).toBe(1);
  });

  test('that redirects to a login page on another host has no referrers', async () => {
    const login = await startFakeRegistry();
    login.script({}, { ...sends(html, 'text/html'), status: 403 });
    const upstream = await startFakeRegistry({ referrersApi: false });
    upstream.content.add(repository, '1', subject);
    upstream.script({ path: fallbackTag }, { redirectTo: () => `${login.url}/login` });
    const entry = { url: upstream.url, redirectHosts: [login.host] };
    const app = await startAppInMemory({ defaultUpstream: 'docker.io', upstreams: { 'docker.io': entry } });
    expect(await referrersAt(app)).toMatchObject({ status: 200, digests: [] });
    expect(login.count()).toBeGreaterThan(0);
  });

  test.each<{ readonly what: string; readonly fault: Fault; readonly status: number }>([
    { what: 'an error of its server', fault: { status: 500 }, status: 503 },
    { what: 'that it is overloaded', fault: { status: 429 }, status: 429 },
    { what: 'a refusal', fault: { status: 403 }, status: 403 },
    { what: 'an index that is cut', fault: sends(index([child]).slice(0, -9), ociIndex), status: 502 },
    { what: 'other bytes than their digest', fault: { body: () => Buffer.from(html) }, status: 502 },
    { what: 'an index that breaks off', fault: { cutAfterBytes: 40 }, status: 503 },
  ])('that answers $what does not mean that there are no referrers', async ({ fault, status }) => {
    const { upstream, app } = await started({ isSigned: true });
    upstream.script({ path: fallbackTag }, fault);
    expect((await referrersAt(app)).status).toBe(status);
  });

  test('that fails later keeps what it listed before', async () => {
    const { upstream, app } = await started({ isSigned: true });
    expect((await referrersAt(app)).digests).toEqual([signature.manifest.digest]);
    app.clock.advance(6 * 60_000);
    upstream.script({ path: fallbackTag }, { status: 500 });
    expect(await referrersAt(app)).toMatchObject({
      status: 200,
      digests: [signature.manifest.digest],
      cache: expect.stringContaining('stale'),
    });
  });
});

describe('a referrers API', () => {
  const notThere = noList.filter(({ what }) => /HTML|empty object|error|nothing|redirect|405/.test(what));

  test.each(notThere)('that answers $what does not exist, and the fallback tag is asked for', async ({ fault }) => {
    const { upstream, app } = await started({ isSigned: true });
    upstream.script({ path: /sign_in/ }, sends(html, 'text/html'));
    upstream.script({ path: api }, fault);
    expect(await referrersAt(app)).toMatchObject({ status: 200, digests: [signature.manifest.digest] });
    const query = `?artifactType=${encodeURIComponent(signature.artifactType)}`;
    expect(await referrersAt(app, query)).toMatchObject({
      filters: 'artifactType',
      digests: [signature.manifest.digest],
    });
  });

  test.each(notThere)(
    'that answers $what, without a fallback tag, means that there are no referrers',
    async ({ fault }) => {
      const { upstream, app } = await started();
      upstream.script({ path: /sign_in/ }, sends(html, 'text/html'));
      upstream.script({ path: api }, fault);
      expect(await referrersAt(app)).toMatchObject({ status: 200, type: ociIndex, digests: [] });
    },
  );

  test('that fails does not mean that there are no referrers, and the fallback tag is not asked for', async () => {
    const { upstream, app } = await started({ referrersApi: true, isSigned: true });
    upstream.script({ path: api }, { status: 503 });
    expect((await referrersAt(app)).status).toBe(503);
    expect(upstream.count('GET', fallbackTag)).toBe(0);
  });
});
