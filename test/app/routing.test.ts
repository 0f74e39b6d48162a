import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { thisSuite } from '../support/owner.ts';
import { sendRaw } from '../support/raw-request.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';

const owner = thisSuite();
const names = ['docker.io', 'ghcr.test', 'quay.test:8443'] as const;
const registries = new Map<string, FakeRegistry>();
const repositories = ['library/app', 'org/app', 'app', 'org/sub/app', 'unknown.test/org/app', 'library/ghcr.test'];
let app: RunningApp;

/** What tells one registry's image from another's of the same name. */
function imageOf(name: string, repository: string): ReturnType<typeof image> {
  return image({ name: `${repository} of ${name}` });
}

function registry(name: string): FakeRegistry {
  const found = registries.get(name);
  if (!found) throw new Error(`no registry called ${name}`);
  return found;
}

function countAll(): number {
  return [...registries.values()].reduce((sum, one) => sum + one.count(), 0);
}

beforeAll(async () => {
  for (const name of names) {
    const one = await startFakeRegistry({ owner });
    for (const repository of repositories) one.content.add(repository, '1', imageOf(name, repository));
    registries.set(name, one);
  }
  app = await startAppInMemory(
    {
      defaultUpstream: 'docker.io',
      upstreams: {
        'docker.io': { url: registry('docker.io').url, aliases: ['index.docker.test', 'registry-1.docker.test'] },
        'ghcr.test': { url: registry('ghcr.test').url },
        'quay.test:8443': { url: registry('quay.test:8443').url },
        '*.pattern.test': { timeouts: { connect: '200ms', headers: '200ms' } },
      },
    },
    { owner },
  );
});

beforeEach(() => {
  for (const one of registries.values()) one.forgetRequests();
});

describe('a request is routed by', () => {
  const manifest = 'manifests/1';
  test.each([
    { path: `/v2/app/${manifest}`, to: 'docker.io', repository: 'library/app' },
    { path: `/v2/library/app/${manifest}`, to: 'docker.io', repository: 'library/app' },
    { path: `/v2/org/app/${manifest}`, to: 'docker.io', repository: 'org/app' },
    { path: `/v2/app/${manifest}?ns=docker.io`, to: 'docker.io', repository: 'library/app' },
    { path: `/v2/app/${manifest}?ns=index.docker.test`, to: 'docker.io', repository: 'library/app' },
    { path: `/v2/registry-1.docker.test/app/${manifest}`, to: 'docker.io', repository: 'library/app' },
    { path: `/v2/docker.io/library/app/${manifest}`, to: 'docker.io', repository: 'library/app' },
    { path: `/docker.io/v2/app/${manifest}`, to: 'docker.io', repository: 'library/app' },
    { path: `/v2/org/app/${manifest}?ns=ghcr.test`, to: 'ghcr.test', repository: 'org/app' },
    { path: `/v2/org/app/${manifest}?ns=GHCR.test`, to: 'ghcr.test', repository: 'org/app' },
    { path: `/v2/app/${manifest}?ns=ghcr.test`, to: 'ghcr.test', repository: 'app' },
    { path: `/v2/ghcr.test/org/app/${manifest}`, to: 'ghcr.test', repository: 'org/app' },
    { path: `/v2/ghcr.test/org/sub/app/${manifest}`, to: 'ghcr.test', repository: 'org/sub/app' },
    { path: `/ghcr.test/v2/org/app/${manifest}`, to: 'ghcr.test', repository: 'org/app' },
    { path: `/v2/ghcr.test/org/app/${manifest}?ns=ghcr.test`, to: 'ghcr.test', repository: 'org/app' },
    { path: `/ghcr.test/v2/ghcr.test/org/app/${manifest}`, to: 'ghcr.test', repository: 'org/app' },
    { path: `/v2/org/app/${manifest}?ns=quay.test%3A8443`, to: 'quay.test:8443', repository: 'org/app' },
    { path: `/v2/quay.test:8443/org/app/${manifest}`, to: 'quay.test:8443', repository: 'org/app' },
    { path: `/v2/ghcr.test/${manifest}`, to: 'docker.io', repository: 'library/ghcr.test' },
    { path: `/v2/quay.test_8443/org/app/${manifest}`, to: 'quay.test:8443', repository: 'org/app' },
    { path: `/quay.test_8443_/v2/org/app/${manifest}`, to: 'quay.test:8443', repository: 'org/app' },
    { path: `/v2/unknown.test/org/app/${manifest}?ns=docker.io`, to: 'docker.io', repository: 'unknown.test/org/app' },
  ])('its path: $repository of $to for $path', async ({ path, to, repository }) => {
    const answer = await ask(app, path);
    expect(answer.status).toBe(200);
    expect(answer.headers['docker-content-digest']).toBe(imageOf(to, repository).manifest.digest);
    expect(countAll()).toBe(registry(to).count());
  });

  test.each([
    { host: 'ghcr.test', to: 'ghcr.test' },
    { host: 'Ghcr.Test', to: 'ghcr.test' },
    { host: 'quay.test:8443', to: 'quay.test:8443' },
    { host: 'index.docker.test', to: 'docker.io' },
    { host: 'mirror.internal:5000', to: 'docker.io' },
  ])('its Host header: to $to for $host', async ({ host, to }) => {
    const answer = await ask(app, '/v2/org/app/manifests/1', { headers: { host } });
    expect(answer.headers['docker-content-digest']).toBe(imageOf(to, 'org/app').manifest.digest);
  });

  test('its namespace first, then its Host header, then its path', async () => {
    const headers = { host: 'ghcr.test' };
    const digestOf = async (path: string) => (await ask(app, path, { headers })).headers['docker-content-digest'];
    const { digest } = imageOf('quay.test:8443', 'org/app').manifest;
    expect(await digestOf('/v2/org/app/manifests/1?ns=quay.test%3A8443')).toBe(digest);
    expect(await digestOf('/v2/org/app/manifests/1')).toBe(imageOf('ghcr.test', 'org/app').manifest.digest);
  });
});

test('a registry that is not configured is answered 404 at once, however it is named, and no registry is asked', async () => {
  for (const path of [
    '/v2/org/app/manifests/1?ns=evil.test',
    '/v2/org/app/manifests/1?ns=',
    '/v2/org/app/manifests/1?ns=ghcr.test%00.evil.test',
    '/v2/org/app/manifests/1?ns=ghcr.test.evil.test',
    '/v2/org/app/manifests/1?ns=a.b.pattern.test',
    '/v2/org/app/manifests/1?ns=pattern.test',
    '/v2/org/app/manifests/1?ns=eu.pattern.test:444',
    '/v2/org/app/manifests/1?ns=*.pattern.test',
    '/v2/org/app/manifests/1?ns=127.0.0.1',
    '/v2/org/app/manifests/1?ns=http://evil.test',
    '/evil.test/v2/org/app/manifests/1',
    '/v2/evil.test/org/app/manifests/1',
    '/v2/ghcr.test_8443/org/app/manifests/1',
    '/127.0.0.1:80/v2/org/app/manifests/1',
  ]) {
    const answer = await ask(app, path);
    expect({ path, status: answer.status }).toEqual({ path, status: 404 });
    expect(JSON.parse(answer.body.toString())).toMatchObject({ errors: [{ code: 'NAME_UNKNOWN' }] });
  }
  expect(countAll()).toBe(0);
});

test.each([
  { what: 'the Kelvin sign for a k', name: 'doc%E2%84%AAer.io' },
  { what: 'a dotless i', name: 'docker.%C4%B1o' },
  { what: '300 characters that match a pattern', name: `${'a'.repeat(287)}.pattern.test` },
  { what: 'a label of 64 characters', name: `${'a'.repeat(64)}.pattern.test` },
  { what: 'a line break', name: 'docker.io%0d%0ax' },
])('an upstream named by $what is answered 404, and is not logged as a bug', async ({ name }) => {
  const answer = await ask(app, `/v2/org/app/manifests/1?ns=${name}`);
  expect({ name, status: answer.status }).toEqual({ name, status: 404 });
  expect(JSON.parse(answer.body.toString())).toMatchObject({ errors: [{ code: 'NAME_UNKNOWN' }] });
  expect(app.logLines.filter(({ msg }) => msg === 'unexpected error')).toEqual([]);
  expect(countAll()).toBe(0);
});

test.each([
  { what: 'as raw bytes', text: 'doc\u00e2\u0084\u00aaer.io' },
  { what: 'too long', text: `${'a'.repeat(287)}.pattern.test` },
])('an upstream named $what in the path or the Host header is not logged as a bug', async ({ text }) => {
  const [prefixed] = await sendRaw(app.host, `GET /${text}/v2/org/app/manifests/1 HTTP/1.0\r\nHost: x\r\n\r\n`);
  expect([400, 404]).toContain(prefixed?.status);
  const [component] = await sendRaw(app.host, `GET /v2/${text}/app/manifests/1 HTTP/1.0\r\nHost: x\r\n\r\n`);
  expect([400, 404]).toContain(component?.status);
  const [host] = await sendRaw(app.host, `GET /v2/org/app/manifests/1 HTTP/1.0\r\nHost: ${text}\r\n\r\n`);
  expect(host?.status).toBe(200);
  expect(app.logLines.filter(({ msg }) => msg === 'unexpected error')).toEqual([]);
});

test('a listing under a prefix that is not a host is 404, and the prefix is not repeated in a header', async () => {
  const answer = await ask(app, '/a;b,c/v2/_catalog?n=1');
  expect(answer.status).toBe(404);
  expect(answer.headers['link']).toBeUndefined();
});

test('a host that a pattern matches is reached by its name', async () => {
  for (const path of ['/v2/org/app/manifests/1?ns=eu.pattern.test', '/v2/eu.pattern.test/org/app/manifests/1']) {
    const answer = await ask(app, path);
    // Tests cannot resolve the name, and so can't the mirror: but it tried.
    expect(answer.status).toBe(503);
    expect(answer.body.toString()).toContain('eu.pattern.test');
  }
  expect(countAll()).toBe(0);
  const metrics = await app.metrics();
  expect(metrics.sum('layerwell_upstream_requests_total', { upstream: '*.pattern.test' })).toBeGreaterThan(0);
});

test('one repository name and tag at two registries are two images', async () => {
  for (const _ of ['cold', 'warm']) {
    for (const name of ['docker.io', 'ghcr.test']) {
      const answer = await ask(app, `/v2/org/app/manifests/1?ns=${name}`);
      expect(answer.body.equals(imageOf(name, 'org/app').manifest.bytes)).toBe(true);
    }
  }
});

test('a response to a request with ?ns= has the OCI-Namespace header', async () => {
  const answer = await ask(app, '/v2/org/app/manifests/1?ns=ghcr.test');
  expect(answer.headers['oci-namespace']).toBe('ghcr.test');
  expect((await ask(app, '/v2/org/app/manifests/1')).headers['oci-namespace']).toBeUndefined();
});

test("an upstream's repositoryPrefix is put before its repository names", async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add('docker-hub/library/app', '1', image());
  const prefixed = await startAppInMemory({
    upstreams: { 'docker.io': { url: upstream.url, repositoryPrefix: 'docker-hub' } },
  });
  expect((await ask(prefixed, '/v2/app/manifests/1')).status).toBe(200);
  expect(upstream.requests.map(({ path }) => path)).toEqual(['/v2/docker-hub/library/app/manifests/1']);
});
