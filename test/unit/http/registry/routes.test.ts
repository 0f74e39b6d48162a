import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseRegistryPath, type RegistryResource } from '../../../../src/http/registry/routes.ts';
import { parseDigest } from '../../../../src/oci/digest.ts';
import { OciError } from '../../../../src/oci/errors.ts';
import { isRepository, parseTag } from '../../../../src/oci/reference.ts';

const digest = parseDigest(`sha256:${'0a'.repeat(32)}`);
const latest = parseTag('latest');

const resources: readonly { readonly path: string; readonly resource: RegistryResource }[] = [
  { path: '/v2', resource: { kind: 'ping' } },
  { path: '/v2/', resource: { kind: 'ping' } },
  { path: '/v2/_catalog', resource: { kind: 'catalog' } },
  { path: '/v2/a/manifests/latest', resource: { kind: 'manifest', name: 'a', reference: latest } },
  { path: '/v2/a/b/c/manifests/latest', resource: { kind: 'manifest', name: 'a/b/c', reference: latest } },
  { path: `/v2/a/manifests/${digest}`, resource: { kind: 'manifest', name: 'a', reference: digest } },
  { path: `/v2/a/blobs/${digest}`, resource: { kind: 'blob', name: 'a', digest } },
  { path: `/v2/a/referrers/${digest}`, resource: { kind: 'referrers', name: 'a', digest } },
  { path: '/v2/a/tags/list', resource: { kind: 'tags', name: 'a' } },
  { path: `/v2/a/blobs/${digest.replace(':', '%3A')}`, resource: { kind: 'blob', name: 'a', digest } },
  { path: `/v2/a/blobs/${digest.replace(':', '%3a')}`, resource: { kind: 'blob', name: 'a', digest } },
  { path: '/v2/registry.test:5000/a/tags/list', resource: { kind: 'tags', name: 'registry.test:5000/a' } },
  // Components may be called like resources: the last one counts.
  { path: '/v2/manifests/manifests/latest', resource: { kind: 'manifest', name: 'manifests', reference: latest } },
  { path: `/v2/a/manifests/b/blobs/${digest}`, resource: { kind: 'blob', name: 'a/manifests/b', digest } },
  { path: '/v2/tags/list/tags/list', resource: { kind: 'tags', name: 'tags/list' } },
];

test.each(resources)('$path', ({ path, resource }) => {
  expect(parseRegistryPath(path)).toEqual({ resource, pathPrefix: undefined, query: undefined });
  const prefixed = parseRegistryPath(`/ghcr.io${path}?ns=quay.io&n=2`);
  expect(prefixed).toMatchObject({ resource, pathPrefix: 'ghcr.io' });
  expect(Object.fromEntries(prefixed.query ?? [])).toEqual({ ns: 'quay.io', n: '2' });
});

describe('rejected paths', () => {
  test.each([
    { path: '', code: 'NAME_INVALID' },
    { path: '*', code: 'NAME_INVALID' },
    { path: 'http://evil.test/v2/', code: 'NAME_INVALID' },
    { path: `/v2/${'a/'.repeat(2_100)}tags/list`, code: 'NAME_INVALID' },
    { path: '/v2/a%2fb/tags/list', code: 'NAME_INVALID' },
    { path: '/v2/a%00/tags/list', code: 'NAME_INVALID' },
    { path: '/v2/%2e%2e/tags/list', code: 'NAME_INVALID' },
    { path: '/v2/a%/tags/list', code: 'NAME_INVALID' },
    { path: '/%76%32/a/tags/list', code: 'NAME_INVALID' },
    { path: '/', code: 'NAME_UNKNOWN' },
    { path: '/v1/', code: 'NAME_UNKNOWN' },
    { path: '/v2a', code: 'NAME_UNKNOWN' },
    { path: '/a/b/v2/', code: 'NAME_UNKNOWN' },
    { path: '//v2/', code: 'NAME_UNKNOWN' },
    { path: '/v2/a', code: 'NAME_UNKNOWN' },
    { path: '/v2/a/manifests', code: 'NAME_UNKNOWN' },
    { path: '/v2/manifests/latest', code: 'NAME_UNKNOWN' },
    { path: '/v2/tags/list', code: 'NAME_UNKNOWN' },
    { path: '/v2/a/blobs/uploads/', code: 'NAME_UNKNOWN' },
    { path: '/v2/a/manifests/', code: 'MANIFEST_UNKNOWN' },
    { path: '/v2/a/manifests/.hidden', code: 'MANIFEST_UNKNOWN' },
    { path: '/v2/a/manifests/a+b', code: 'MANIFEST_UNKNOWN' },
    { path: '/v2/a/manifests/sha256:abc', code: 'DIGEST_INVALID' },
    { path: '/v2/a/manifests/a:b:c', code: 'DIGEST_INVALID' },
    { path: '/v2/a/blobs/latest', code: 'DIGEST_INVALID' },
    { path: '/v2/a/blobs/uploads', code: 'DIGEST_INVALID' },
    { path: '/v2/a/referrers/', code: 'DIGEST_INVALID' },
  ])('$path', ({ path, code }) => {
    expect(() => parseRegistryPath(path)).toThrow(expect.objectContaining({ name: 'OciError', code }));
  });
});

const words = ['v2', 'manifests', 'blobs', 'tags', 'list', 'referrers', '_catalog', 'a', 'ghcr.io', digest, 'latest'];
const evil = [
  '..',
  '.',
  '',
  '%2e%2e',
  '%2F',
  '%00',
  '\\',
  '\0',
  '\r\n',
  'A',
  '?',
  '#',
  '%3A',
  ':',
  '@',
  '//',
  '~',
  '%',
  'é',
];

/** The name is checked by the mirror, once it knows the upstream: but nothing that was encoded may be in it. */
function outcomeOf(target: string): string {
  try {
    const { resource } = parseRegistryPath(target);
    if ('name' in resource && resource.name.includes('%')) return `the name ${resource.name}`;
    return 'digest' in resource && resource.digest !== digest ? `the digest ${resource.digest}` : 'a resource';
  } catch (error) {
    return error instanceof OciError && [400, 404].includes(error.status) ? 'refused' : String(error);
  }
}

test('every path is a resource or an error of the spec', () => {
  const path = fc.array(fc.constantFrom(...words, ...evil), { maxLength: 10 }).map((parts) => `/${parts.join('/')}`);
  fc.assert(
    fc.property(fc.oneof(path, fc.string()), (target) => {
      expect(['a resource', 'refused']).toContain(outcomeOf(target));
    }),
    { numRuns: 3_000 },
  );
});

test('every repository and tag of the spec can be written into a path and parsed back', () => {
  const component = fc.stringMatching(/^[a-z0-9]+(?:[._-][a-z0-9]+)?$/);
  const name = fc.array(component, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
  fc.assert(
    fc.property(name, fc.stringMatching(/^\w[\w.-]{0,20}$/), (repository, tag) => {
      fc.pre(isRepository(repository));
      expect(parseRegistryPath(`/v2/${repository}/manifests/${tag}`).resource).toEqual({
        kind: 'manifest',
        name: repository,
        reference: tag,
      });
      expect(parseRegistryPath(`/v2/${repository}/tags/list`).resource).toEqual({ kind: 'tags', name: repository });
    }),
  );
});

test('the longest path is rejected at once', () => {
  const startedAt = performance.now();
  for (const piece of ['/manifests', '/blobs/', '/a', 'v2/', '%3A', '/tags/list']) {
    expect(() => parseRegistryPath(`/v2${piece.repeat(Math.floor(4_080 / piece.length))}/!`)).toThrow(OciError);
  }
  expect(performance.now() - startedAt).toBeLessThan(500);
});
