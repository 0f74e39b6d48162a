import { METHODS } from 'node:http';
import { describe, expect, test } from 'vitest';
import { ask, type WholeAnswer } from '../support/client.ts';
import type { Fault } from '../support/fake-answer.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image, randomBlob } from '../support/images.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const held = image();
const absent = randomBlob(10, 'absent').digest;
const tagPath = `/v2/${repository}/manifests/1`;
const blobPath = `/v2/${repository}/blobs/${held.blobs[0]?.digest}`;

/** The error of the spec, by GET and by HEAD; never a challenge. */
async function expectError(app: RunningApp, path: string, status: number, code: string): Promise<WholeAnswer> {
  const answer = await ask(app, path);
  expect({ path, status: answer.status }).toEqual({ path, status });
  expect(answer.headers).toMatchObject({
    'content-type': 'application/json; charset=utf-8',
    'docker-distribution-api-version': 'registry/2.0',
    'x-content-type-options': 'nosniff',
  });
  expect(answer.headers['www-authenticate']).toBeUndefined();
  expect(JSON.parse(answer.body.toString())).toEqual({
    errors: [{ code, message: expect.stringMatching(/^[^<>]+$/) }],
  });
  const head = await ask(app, path, { method: 'HEAD' });
  expect(head).toMatchObject({ status, body: Buffer.alloc(0) });
  return answer;
}

async function started(config: object = {}, fault?: Fault) {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', held);
  if (fault) upstream.script({}, fault);
  return { upstream, app: await startAppInMemory(mirrorOf(upstream, { ...config })) };
}

test('content that the upstream lacks is answered 404, with the missing name', async () => {
  const { app } = await started();
  await expectError(app, `/v2/${repository}/manifests/none`, 404, 'MANIFEST_UNKNOWN');
  await expectError(app, `/v2/${repository}/manifests/${absent}`, 404, 'MANIFEST_UNKNOWN');
  await expectError(app, `/v2/${repository}/blobs/${absent}`, 404, 'BLOB_UNKNOWN');
  await expectError(app, '/v2/library/none/tags/list', 404, 'NAME_UNKNOWN');
});

test('an invalid request is answered with the reason', async () => {
  const { app, upstream } = await started();
  await expectError(app, '/v2/library/App/manifests/1', 400, 'NAME_INVALID');
  await expectError(app, `/v2/${repository}/blobs/sha256:abc`, 400, 'DIGEST_INVALID');
  await expectError(app, `/v2/${repository}/tags/list?n=many`, 400, 'PAGINATION_NUMBER_INVALID');
  await expectError(app, `/v2/${repository}/what/1`, 404, 'NAME_UNKNOWN');
  await expectError(app, '/', 404, 'NAME_UNKNOWN');
  await expectError(app, `${tagPath}?ns=nobody.test`, 404, 'NAME_UNKNOWN');
  await expectError(app, `/nobody.test${tagPath}`, 404, 'NAME_UNKNOWN');
  expect(upstream.count()).toBe(0);
});

describe('a repository that the configuration denies is answered 403, and the upstream is not asked', () => {
  test.each([
    { what: 'denied', rules: { deny: ['library/secret-*'] }, denied: 'library/secret-app', allowed: repository },
    { what: 'not among the allowed', rules: { allow: ['library/*'] }, denied: 'team/app', allowed: repository },
    {
      what: 'denied among the allowed',
      rules: { allow: ['library/**'], deny: ['library/b*'] },
      denied: 'library/b',
      allowed: repository,
    },
  ])('$what', async ({ rules, denied, allowed }) => {
    const upstream = await startFakeRegistry();
    for (const name of [denied, allowed]) upstream.content.add(name, '1', held);
    const app = await startAppInMemory({ upstreams: { 'docker.io': { url: upstream.url, ...rules } } });
    for (const path of [
      'manifests/1',
      `manifests/${held.manifest.digest}`,
      `blobs/${absent}`,
      'tags/list',
      `referrers/${absent}`,
    ]) {
      await expectError(app, `/v2/${denied}/${path}`, 403, 'DENIED');
    }
    expect(upstream.count()).toBe(0);
    expect((await ask(app, `/v2/${allowed}/manifests/1`)).status).toBe(200);
  });

  test('and content cached before is not served any more', async () => {
    const { app, upstream } = await started();
    for (const path of [tagPath, blobPath]) expect((await ask(app, path)).status).toBe(200);
    await app.restart({ upstreams: { 'docker.io': { url: upstream.url, deny: ['library/*'] } } });
    for (const path of [tagPath, blobPath]) await expectError(app, path, 403, 'DENIED');
  });
});

describe('a failure of the upstream is answered with its true status', () => {
  const html = { 'content-type': 'text/html' };
  const page = () => Buffer.from('<html>sorry</html>');
  test.each([
    { what: '401 to an anonymous request', fault: { status: 401 }, status: 403, code: 'DENIED' },
    { what: '403 to an anonymous request', fault: { status: 403 }, status: 403, code: 'DENIED' },
    { what: '404', fault: { status: 404, headers: html, body: page }, status: 404, code: undefined },
    { what: '429', fault: { status: 429, body: page }, status: 429, code: 'TOOMANYREQUESTS' },
    { what: '500', fault: { status: 500, headers: html, body: page }, status: 503, code: 'UNAVAILABLE' },
    { what: '502', fault: { status: 502, body: () => Buffer.alloc(0) }, status: 503, code: 'UNAVAILABLE' },
    { what: '418', fault: { status: 418 }, status: 502, code: 'UNAVAILABLE' },
    { what: 'nothing', fault: { dropConnection: true }, status: 503, code: 'UNAVAILABLE' },
  ] satisfies readonly { what: string; fault: Fault; status: number; code: string | undefined }[])(
    '$what → $status',
    async ({ fault, status, code }) => {
      const { app } = await started({}, fault);
      await expectError(app, tagPath, status, code ?? 'MANIFEST_UNKNOWN');
      const other = await started({}, fault);
      await expectError(other.app, blobPath, status, code ?? 'BLOB_UNKNOWN');
    },
  );

  test('200 with a web page → 502', async () => {
    const { app } = await started({}, { headers: html, body: page });
    await expectError(app, tagPath, 502, 'UNAVAILABLE');
    expect((await ask(app, blobPath)).status).toBe(502);
  });

  test.each([
    { what: 'as long as the upstream says', headers: { 'retry-after': '77' }, expected: '77' },
    { what: 'ten seconds where it does not say', headers: {}, expected: '10' },
  ])('a 429 has a Retry-After: $what', async ({ headers, expected }) => {
    const { app } = await started({}, { status: 429, headers });
    for (const path of [tagPath, blobPath, `/v2/${repository}/tags/list`]) {
      expect((await expectError(app, path, 429, 'TOOMANYREQUESTS')).headers['retry-after']).toBe(expected);
    }
  });

  test("a registry that rejects the mirror's account causes a 502 that does not name the account", async () => {
    const auth = { kind: 'basic', username: 'mirror', password: 'right' } as const;
    const upstream = await startFakeRegistry({ auth });
    upstream.content.add(repository, '1', held);
    const credentials = [{ kind: 'basic', username: 'mirror-account', password: 'wrong-secret' }];
    const entry = { url: upstream.url, credentials, visibility: 'service', allowAnonymous: true };
    const app = await startAppInMemory({ upstreams: { 'docker.io': entry } });
    const { body } = await expectError(app, tagPath, 502, 'UNAVAILABLE');
    expect(body.toString()).not.toMatch(/mirror-account|wrong-secret|bWlycm9y/);
  });
});

test('every request that would change something gets 405 with an Allow header', async () => {
  const { app, upstream } = await started();
  const writes = METHODS.filter((method) => !['GET', 'HEAD', 'CONNECT'].includes(method));
  expect(writes).toEqual(expect.arrayContaining(['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']));
  for (const method of writes) {
    for (const path of ['/v2/', tagPath, blobPath, `/v2/${repository}/blobs/uploads/`, `/docker.io${tagPath}`]) {
      const answer = await ask(app, path, { method });
      expect({ method, path, status: answer.status }).toEqual({ method, path, status: 405 });
      expect(answer.headers.allow).toBe('GET, HEAD');
      expect(JSON.parse(answer.body.toString())).toMatchObject({ errors: [{ code: 'UNSUPPORTED' }] });
    }
  }
  expect(upstream.count()).toBe(0);
});

test('an overloaded mirror answers with an error of the spec', async () => {
  const { app, upstream } = await started({ clients: { maxRequests: 1 } });
  const answering = gate();
  upstream.script({}, { holdHeaders: answering });
  const first = ask(app, tagPath);
  await upstream.arrived('GET', /./);
  expect((await expectError(app, blobPath, 503, 'UNAVAILABLE')).headers['retry-after']).toMatch(/^\d+$/);
  answering.open();
  expect((await first).status).toBe(200);
});

test("a client's Authorization is ignored, and not forwarded", async () => {
  const upstream = await startFakeRegistry({ auth: { kind: 'bearer' } });
  upstream.content.add(repository, '1', held);
  const app = await startAppInMemory(mirrorOf(upstream));
  const authorization = `Basic ${Buffer.from('someone:private').toString('base64')}`;
  for (const path of ['/v2/', tagPath, blobPath]) {
    expect((await ask(app, path, { headers: { authorization } })).status).toBe(200);
  }
  expect(upstream.requests.map(({ headers }) => headers.authorization ?? '')).not.toContain(authorization);
  expect(JSON.stringify(app.logLines)).not.toContain('c29tZW9uZTpwcml2YXRl');
});

test('a ping is answered at once, with no challenge, though the upstream is down', async () => {
  const { app, upstream } = await started();
  await upstream.stop();
  for (const path of ['/v2/', '/v2', '/docker.io/v2/', '/v2/?ns=docker.io']) {
    const answer = await ask(app, path);
    expect(answer).toMatchObject({ status: 200, headers: { 'docker-distribution-api-version': 'registry/2.0' } });
    expect(answer.body.toString()).toBe('{}');
  }
});
