import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RecordKey } from '../../../src/mirror/ports/record-store.ts';
import { parseDigest } from '../../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../../src/oci/reference.ts';
import { blobPath, digestAt, recordKeyAt, recordPath, quarantinePath } from '../../../src/storage/layout.ts';

const sha256 = parseDigest(`sha256:${'ab12'.repeat(16)}`);
const sha512 = parseDigest(`sha512:${'cd34'.repeat(32)}`);
const alpine = { upstream: 'docker.io', repository: parseRepository('library/alpine') };

test('content is stored under the first two digits of its digest', () => {
  expect(blobPath(sha256)).toBe(`blobs/sha256/ab/${'ab12'.repeat(16)}`);
  expect(blobPath(sha512)).toBe(`blobs/sha512/cd/${'cd34'.repeat(32)}`);
});

test.each([sha256, sha512])('the path of %s is parsed back to its digest', (digest) => {
  expect(digestAt(blobPath(digest))).toBe(digest);
});

test.each([
  '',
  'blobs',
  'blobs/sha256/ab',
  `blobs/sha256/cd/${'ab12'.repeat(16)}`,
  `blobs/sha256/ab/${'ab12'.repeat(16)}.tmp`,
  `blobs/sha256/ab/${'AB12'.repeat(16)}`,
  `blobs/sha256/ab/x/${'ab12'.repeat(16)}`,
  `blobs/md5/ab/${'ab12'.repeat(8)}`,
  `other/sha256/ab/${'ab12'.repeat(16)}`,
  `blobs/sha512/ab/${'ab12'.repeat(16)}`,
])('%j is not parsed as content', (path) => {
  expect(digestAt(path)).toBeUndefined();
});

test.each<[RecordKey, string]>([
  [{ kind: 'tag', repositoryId: alpine, tag: parseTag('3.20') }, '_tags/3.20.json'],
  [{ kind: 'manifest', repositoryId: alpine, digest: sha256 }, `_manifests/sha256/${'ab12'.repeat(16)}.json`],
  [{ kind: 'blob', repositoryId: alpine, digest: sha512 }, `_blobs/sha512/${'cd34'.repeat(32)}.json`],
  [{ kind: 'referrers', repositoryId: alpine, digest: sha256 }, `_referrers/sha256/${'ab12'.repeat(16)}.json`],
  [{ kind: 'tag-list', repositoryId: alpine }, '_list.json'],
  [{ kind: 'visibility', repositoryId: alpine }, '_visibility.json'],
])('the record %j has its own path', (key, expected) => {
  expect(recordPath(key)).toBe(`repositories/docker.io/library/alpine/${expected}`);
});

const upstreams = fc.constantFrom(
  'docker.io',
  'ghcr.io',
  '127.0.0.1:5000',
  'localhost:5000',
  '[::1]:5000',
  'my_host.test',
);
const repositories = fc
  .array(fc.stringMatching(/^[a-z0-9]{1,5}(?:(?:\.|_|__|--?)[a-z0-9]{1,5}){0,2}$/), { minLength: 1, maxLength: 4 })
  .map((parts) => parseRepository(parts.join('/')));
const tags = fc
  .oneof(
    fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}$/),
    fc.constantFrom('_tags', 'a.json', '.json'.slice(1), '__proto__'),
  )
  .map(parseTag);
const digests = fc.constantFrom(sha256, sha512);
const keys = fc
  .tuple(upstreams, repositories)
  .map(([upstream, repository]) => ({ upstream, repository }))
  .chain((repositoryId) =>
    fc.oneof(
      tags.map((tag): RecordKey => ({ kind: 'tag', repositoryId, tag })),
      fc
        .tuple(fc.constantFrom('manifest' as const, 'blob' as const, 'referrers' as const), digests)
        .map(([kind, digest]): RecordKey => ({ kind, repositoryId, digest })),
      fc.constantFrom('tag-list' as const, 'visibility' as const).map((kind): RecordKey => ({ kind, repositoryId })),
    ),
  );

test('the path of every record is parsed back to its key', () => {
  fc.assert(
    fc.property(keys, (key) => {
      expect(recordKeyAt(recordPath(key))).toEqual(key);
    }),
  );
});

const pieces = [
  'docker.io',
  '..',
  '.',
  '',
  'library',
  'alpine',
  '_tags',
  '_blobs',
  '_manifests',
  '_list.json',
  'sha256',
];
const ends = [
  `${'ab12'.repeat(16)}.json`,
  'latest.json',
  'latest',
  '_visibility.json',
  `sha256:${'ab12'.repeat(16)}.json`,
];

test('a record in the wrong place is not parsed', () => {
  const part = fc.constantFrom(...pieces, ...ends);
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), (names) => {
      const path = ['repositories', ...names].join('/');
      const key = recordKeyAt(path);
      return key === undefined || recordPath(key) === path;
    }),
    { numRuns: 2_000 },
  );
  expect(recordKeyAt(['repositories', 'docker.io', 'alpine', '_tags', 'latest.json'].join('/'))).toBeDefined();
});

describe('a path that is not a record', () => {
  const folder = 'repositories/docker.io/library/alpine';
  test.each([
    'repositories/docker.io/_tags/latest.json',
    'repositories/../library/alpine/_tags/latest.json',
    `${folder}/_tags/latest`,
    `${folder}/_tags/.hidden.json`,
    `${folder}/_tags/a/b.json`,
    `${folder}/_manifests/sha256:${'ab12'.repeat(16)}.json`,
    `${folder}/_manifests/sha256/${'ab12'.repeat(16)}`,
    `${folder}/_list.json/x.json`,
    `${folder}/_other.json`,
    'repositories/docker.io/library/_list.json/alpine',
    'blobs/docker.io/library/alpine/_list.json',
  ])('%s', (path) => {
    expect(recordKeyAt(path)).toBeUndefined();
  });
});

test.each(['..', '.', '', 'a/b', '../etc', 'a\0b', '-x', 'host:port', 'x'.repeat(256), 'docker.io\\..'])(
  'an upstream named %j has no path, least of all outside the store',
  (upstream) => {
    expect(() => recordPath({ kind: 'tag-list', repositoryId: { ...alpine, upstream } })).toThrow(
      /not the name of a registry/,
    );
  },
);

test('quarantined files sort by age', () => {
  expect([quarantinePath(sha256, 10_000_000_000_000), quarantinePath(sha512, 9_999_999_999_999)].toSorted()).toEqual([
    quarantinePath(sha512, 9_999_999_999_999),
    quarantinePath(sha256, 10_000_000_000_000),
  ]);
});
