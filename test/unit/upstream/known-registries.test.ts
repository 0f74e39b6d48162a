import { buffer } from 'node:stream/consumers';
import nock from 'nock';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { digestOf } from '../../../src/oci/digest.ts';
import { ociManifest } from '../../../src/oci/media-types.ts';
import { parseRepository, parseTag } from '../../../src/oci/reference.ts';
import { randomBlob } from '../../support/images.ts';
import { clientOf, unlimited } from './start-client.ts';

const latest = parseTag('latest');
const manifest = '{"schemaVersion":2}';
const blob = randomBlob(100);
const sent = { 'Content-Type': ociManifest, 'Docker-Content-Digest': digestOf(Buffer.from(manifest)) };

beforeEach(() => nock.disableNetConnect());
afterEach(() => {
  nock.abortPendingRequests();
  nock.cleanAll();
  nock.enableNetConnect();
});

test('a request that nock does not answer does not leave the machine, over our own agents either', async () => {
  const asked = clientOf('https://registry.unknown.example').client.listTags(parseRepository('a'), unlimited);

  await expect(asked).rejects.toMatchObject({ cause: expect.objectContaining({ code: 'ENETUNREACH' }) });
});

test('Docker Hub: the token comes from auth.docker.io, and the blob from its CDN, which never gets the token', async () => {
  const repository = parseRepository('library/alpine');
  const challenge =
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull"';
  nock('https://auth.docker.io', { reqheaders: { authorization: `Basic ${btoa('user:pat')}` } })
    .get('/token')
    .query({
      service: 'registry.docker.io',
      scope: 'repository:library/alpine:pull',
      account: 'user',
      client_id: 'layerwell',
    })
    .reply(200, { token: 'hub', access_token: 'hub', expires_in: 300, issued_at: new Date().toISOString() });
  const hub = nock('https://registry-1.docker.io');
  hub.get('/v2/library/alpine/manifests/latest').reply(401, '', { 'WWW-Authenticate': challenge });
  hub.get('/v2/library/alpine/manifests/latest').matchHeader('authorization', 'Bearer hub').reply(200, manifest, sent);
  hub
    .get(`/v2/library/alpine/blobs/${blob.digest}`)
    .matchHeader('authorization', 'Bearer hub')
    .reply(307, '', { Location: 'https://production.cloudflare.docker.com/blob?verify=abc%3D' });
  nock('https://production.cloudflare.docker.com', { badheaders: ['authorization', 'cookie'] })
    .get('/blob')
    .query({ verify: 'abc=' })
    .reply(200, blob.bytes);
  const credentials = [
    { kind: 'basic', repositories: ['**'], username: 'user', readPassword: async () => 'pat' },
  ] as const;
  const { client } = clientOf('https://registry-1.docker.io', { credentials });

  await client.getManifest(repository, latest, unlimited);
  const { body } = await client.openBlob(repository, blob.digest, unlimited);

  expect(await buffer(body)).toEqual(blob.bytes);
  expect(nock.pendingMocks()).toEqual([]);
});

test('GitLab: the token comes from another host of the same domain', async () => {
  const repository = parseRepository('group/subgroup/project/image');
  const registry = nock('https://registry.gitlab.example');
  const path = '/v2/group/subgroup/project/image/manifests/latest';
  registry.head(path).reply(401, '', {
    'WWW-Authenticate': 'Bearer realm="https://gitlab.example/jwt/auth",service="container_registry"',
  });
  nock('https://gitlab.example')
    .get('/jwt/auth')
    .query((query) => query['scope'] === `repository:${repository}:pull`)
    .reply(200, { token: 'jwt' });
  registry.head(path).matchHeader('authorization', 'Bearer jwt').reply(200, '', sent);

  const { client } = clientOf('https://registry.gitlab.example');

  expect(await client.headManifest(repository, latest, unlimited)).toMatchObject({ mediaType: ociManifest });
  expect(nock.pendingMocks()).toEqual([]);
});

test('registry.k8s.io: its redirect leads to a registry that may want a token of its own', async () => {
  const elsewhere = nock('https://us-docker.pkg.dev');
  nock('https://registry.k8s.io')
    .get('/v2/pause/manifests/latest')
    .reply(307, '', { Location: 'https://us-docker.pkg.dev/v2/k8s-artifacts-prod/images/pause/manifests/latest' });
  elsewhere.get('/v2/k8s-artifacts-prod/images/pause/manifests/latest').reply(401, '', {
    'WWW-Authenticate':
      'Bearer realm="https://us-docker.pkg.dev/v2/token",scope="repository:k8s-artifacts-prod/images/pause:pull"',
  });
  elsewhere.get('/v2/token').query(true).reply(200, { token: 'guest' });
  elsewhere
    .get('/v2/k8s-artifacts-prod/images/pause/manifests/latest')
    .matchHeader('authorization', 'Bearer guest')
    .reply(200, manifest, sent);

  const fetched = await clientOf('https://registry.k8s.io').client.getManifest(
    parseRepository('pause'),
    latest,
    unlimited,
  );

  expect(fetched.digest).toBe(sent['Docker-Content-Digest']);
  expect(nock.pendingMocks()).toEqual([]);
});

test('a redirect from https to http is not followed', async () => {
  nock('https://registry.example').get(/blobs/).reply(307, '', { Location: 'http://cdn.example/blob' });
  nock('http://cdn.example').get('/blob').reply(200, blob.bytes);

  const opened = clientOf('https://registry.example').client.openBlob(parseRepository('a'), blob.digest, unlimited);

  await expect(opened).rejects.toMatchObject({ reason: 'misbehaving', message: expect.stringContaining('http:') });
  expect(nock.pendingMocks()).toEqual(['GET http://cdn.example:80/blob']);
});
