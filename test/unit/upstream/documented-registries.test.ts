import nock from 'nock';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { digestOf } from '../../../src/oci/digest.ts';
import { ociManifest } from '../../../src/oci/media-types.ts';
import { parseRepository, parseTag } from '../../../src/oci/reference.ts';
import type { UpstreamSettings } from '../../../src/upstream/settings.ts';
import { clientOf, unlimited } from './start-client.ts';

const manifest = '{"schemaVersion":2}';
const sent = { 'Content-Type': ociManifest, 'Docker-Content-Digest': digestOf(Buffer.from(manifest)) };
const basic = `Basic ${btoa('mirror:secret')}`;
const credentials: UpstreamSettings['credentials'] = [
  { kind: 'basic', repositories: ['**'], username: 'mirror', readPassword: async () => 'secret' },
];

beforeEach(() => nock.disableNetConnect());
afterEach(() => {
  nock.abortPendingRequests();
  nock.cleanAll();
  nock.enableNetConnect();
});

interface Registry {
  readonly name: string;
  readonly url: string;
  readonly settings?: Partial<UpstreamSettings>;
  /** As clients of the mirror write it. */
  readonly repository: string;
  /** Where the registry has its manifest `latest`. */
  readonly path: string;
  readonly challenge: string;
  /** Where its tokens are had, and what they must be asked for; absent: it wants the password itself. */
  readonly tokens?: {
    readonly origin: string;
    readonly path: string;
    readonly query: Readonly<Record<string, string>>;
  };
  readonly answer?: object;
}

const about = { account: 'mirror', client_id: 'layerwell' };

const registries: readonly Registry[] = [
  {
    name: 'GitHub Container Registry',
    url: 'https://ghcr.io',
    repository: 'org/app',
    path: '/v2/org/app/manifests/latest',
    challenge: 'Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:org/app:pull"',
    tokens: {
      origin: 'https://ghcr.io',
      path: '/token',
      query: { service: 'ghcr.io', scope: 'repository:org/app:pull', ...about },
    },
  },
  {
    name: 'Quay',
    url: 'https://quay.io',
    repository: 'org/app',
    path: '/v2/org/app/manifests/latest',
    challenge: 'Bearer realm="https://quay.io/v2/auth",service="quay.io",scope="repository:org/app:pull"',
    tokens: {
      origin: 'https://quay.io',
      path: '/v2/auth',
      query: { service: 'quay.io', scope: 'repository:org/app:pull', ...about },
    },
  },
  {
    name: 'Harbor',
    url: 'https://harbor.example.com',
    repository: 'team/app',
    path: '/v2/team/app/manifests/latest',
    challenge:
      'Bearer realm="https://harbor.example.com/service/token",service="harbor-registry",scope="repository:team/app:pull"',
    tokens: {
      origin: 'https://harbor.example.com',
      path: '/service/token',
      query: { service: 'harbor-registry', scope: 'repository:team/app:pull', ...about },
    },
  },
  {
    name: 'Gitea and Forgejo, which offer Bearer and Basic in one line, with one scope for all',
    url: 'https://git.example.com',
    repository: 'owner/app',
    path: '/v2/owner/app/manifests/latest',
    challenge:
      'Bearer realm="https://git.example.com/v2/token",service="container_registry",scope="*",Basic realm="https://git.example.com/v2"',
    tokens: {
      origin: 'https://git.example.com',
      path: '/v2/token',
      query: { service: 'container_registry', scope: '*', ...about },
    },
  },
  {
    name: 'Azure Container Registry, which calls its token an access token',
    url: 'https://myregistry.azurecr.io',
    repository: 'app',
    path: '/v2/app/manifests/latest',
    challenge:
      'Bearer realm="https://myregistry.azurecr.io/oauth2/token",service="myregistry.azurecr.io",scope="repository:app:pull"',
    tokens: {
      origin: 'https://myregistry.azurecr.io',
      path: '/oauth2/token',
      query: { service: 'myregistry.azurecr.io', scope: 'repository:app:pull', ...about },
    },
    answer: { access_token: 'pull' },
  },
  {
    name: 'Google, with a project of a domain and no service in the challenge',
    url: 'https://gcr.io',
    repository: 'example.com/project/image',
    path: '/v2/example.com/project/image/manifests/latest',
    challenge: 'Bearer realm="https://gcr.io/v2/token"',
    tokens: {
      origin: 'https://gcr.io',
      path: '/v2/token',
      query: { scope: 'repository:example.com/project/image:pull', ...about },
    },
  },
  {
    name: 'AWS ECR, whose Basic names a URL',
    url: 'https://123456789012.dkr.ecr.eu-west-1.amazonaws.com',
    repository: 'team/app',
    path: '/v2/team/app/manifests/latest',
    challenge: 'Basic realm="https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com"',
  },
  {
    name: 'Nexus behind a path',
    url: 'https://nexus.example.com/repository/docker',
    repository: 'team/app',
    path: '/repository/docker/v2/team/app/manifests/latest',
    challenge: 'Basic realm="Sonatype Nexus Repository Manager"',
  },
  {
    name: 'Nexus behind a path, with its bearer token realm',
    url: 'https://nexus.example.com/repository/docker',
    repository: 'team/app',
    path: '/repository/docker/v2/team/app/manifests/latest',
    challenge:
      'Bearer realm="https://nexus.example.com/repository/docker/v2/token",service="https://nexus.example.com/repository/docker/v2/token"',
    tokens: {
      origin: 'https://nexus.example.com',
      path: '/repository/docker/v2/token',
      query: {
        service: 'https://nexus.example.com/repository/docker/v2/token',
        scope: 'repository:team/app:pull',
        ...about,
      },
    },
  },
  {
    name: 'Artifactory behind a path',
    url: 'https://art.example.com/artifactory/api/docker/docker-remote',
    repository: 'library/alpine',
    path: '/artifactory/api/docker/docker-remote/v2/library/alpine/manifests/latest',
    challenge:
      'Bearer realm="https://art.example.com/artifactory/api/docker/docker-remote/v2/token",service="art.example.com",scope="repository:library/alpine:pull"',
    tokens: {
      origin: 'https://art.example.com',
      path: '/artifactory/api/docker/docker-remote/v2/token',
      query: { service: 'art.example.com', scope: 'repository:library/alpine:pull', ...about },
    },
  },
  {
    name: 'Artifactory whose repository is the first part of every name',
    url: 'https://art.example.com',
    settings: { repositoryPrefix: 'docker-remote' },
    repository: 'library/alpine',
    path: '/v2/docker-remote/library/alpine/manifests/latest',
    challenge: 'Basic realm="Artifactory Realm"',
  },
  {
    name: 'GitLab, with a nested project and its realm at another host',
    url: 'https://registry.gitlab.com',
    repository: 'group/subgroup/project/image/variant',
    path: '/v2/group/subgroup/project/image/variant/manifests/latest',
    challenge:
      'Bearer realm="https://gitlab.com/jwt/auth",service="container_registry",scope="repository:group/subgroup/project/image/variant:pull"',
    tokens: {
      origin: 'https://gitlab.com',
      path: '/jwt/auth',
      query: {
        service: 'container_registry',
        scope: 'repository:group/subgroup/project/image/variant:pull',
        ...about,
      },
    },
  },
];

test.each(registries)('$name: an image is pulled with an account', async (registry) => {
  const { url, path, challenge, tokens, settings } = registry;
  const { origin } = new URL(url);
  nock(origin, { badheaders: ['authorization'] })
    .get(path)
    .reply(401, '', { 'WWW-Authenticate': challenge });
  if (tokens) {
    nock(tokens.origin, { reqheaders: { authorization: basic } })
      .get(tokens.path)
      .query(tokens.query)
      .reply(200, registry.answer ?? { token: 'pull', expires_in: 300 });
  }
  nock(origin, { reqheaders: { authorization: tokens ? 'Bearer pull' : basic } })
    .get(path)
    .reply(200, manifest, sent);
  const { client } = clientOf(url, { credentials, ...settings });

  const fetched = await client.getManifest(parseRepository(registry.repository), parseTag('latest'), unlimited);

  expect(fetched.digest).toBe(sent['Docker-Content-Digest']);
  expect(nock.pendingMocks()).toEqual([]);
});

test('ECR, which rejects pages of more than a thousand tags, lists them all, page by page', async () => {
  const ecr = nock('https://123456789012.dkr.ecr.eu-west-1.amazonaws.com').get('/v2/team/app/tags/list');
  const link = '</v2/team/app/tags/list?n=1000&last=b>; rel="next"';
  const page = (query: Readonly<Record<string, string>>) => (asked: object) =>
    JSON.stringify(asked) === JSON.stringify(query);
  ecr.query(page({ n: '1000' })).reply(200, { tags: ['a', 'b'] }, { Link: link });
  nock('https://123456789012.dkr.ecr.eu-west-1.amazonaws.com')
    .get('/v2/team/app/tags/list')
    .query(page({ n: '1000', last: 'b' }))
    .reply(200, { tags: ['c'] });

  const { client } = clientOf('https://123456789012.dkr.ecr.eu-west-1.amazonaws.com');

  expect(await client.listTags(parseRepository('team/app'), unlimited)).toEqual(['a', 'b', 'c']);
});

test('Artifact Registry: a blob behind a relative redirect comes from the same host, with its token', async () => {
  const bytes = Buffer.from('layer');
  const digest = digestOf(bytes);
  const registry = nock('https://europe-docker.pkg.dev');
  const signed = '/artifacts-downloads/namespaces/p/repositories/r/downloads/abc';
  registry.get(`/v2/p/r/app/blobs/${digest}`).reply(302, '', { Location: `${signed}?x=y` });
  registry.get(signed).query({ x: 'y' }).reply(200, bytes);

  const { client } = clientOf('https://europe-docker.pkg.dev');
  const { body } = await client.openBlob(parseRepository('p/r/app'), digest, unlimited);

  expect(Buffer.concat(await body.toArray())).toEqual(bytes);
});
