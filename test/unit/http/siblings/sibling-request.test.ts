import { expect, test } from 'vitest';
import { parseSiblingPath, partAskedFor } from '../../../../src/http/siblings/sibling-request.ts';
import { digestOf } from '../../../../src/oci/digest.ts';

const digest = digestOf(Buffer.from('blob'));
const app = { upstream: 'docker.io', repository: 'library/app' };

test.each([
  { path: '/v1/', is: { kind: 'ping' } },
  { path: `/v1/docker.io/library/app/blobs/${digest}`, is: { kind: 'blob', named: app, digest } },
  { path: `/v1/docker.io/library/app/manifests/${digest}`, is: { kind: 'manifest', named: app, digest } },
  { path: '/v1/docker.io/library/app/tags/1.0', is: { kind: 'tag', named: app, tag: '1.0' } },
  { path: '/v1/docker.io/library/app/visibility/verdict', is: { kind: 'visibility', named: app } },
  {
    path: '/v1/registry.test:5000/app/tags/1',
    is: { kind: 'tag', named: { upstream: 'registry.test:5000', repository: 'app' }, tag: '1' },
  },
  {
    path: '/v1/docker.io/app/tags/visibility/verdict',
    is: { kind: 'visibility', named: { upstream: 'docker.io', repository: 'app/tags' } },
  },
  {
    path: '/v1/docker.io/app/tags/visibility',
    is: { kind: 'tag', named: { upstream: 'docker.io', repository: 'app' }, tag: 'visibility' },
  },
])('$path is understood', ({ path, is }) => {
  expect(parseSiblingPath(path)).toEqual(is);
});

test.each([
  '',
  '/',
  '/v1',
  '/v2/',
  '/v1/docker.io',
  `/v1/docker.io/blobs/${digest}`,
  '/v1/docker.io/library/app/blobs/latest',
  `/v1/docker.io/library/app/blobs/${digest}?x=1`,
  `/v1/docker.io/../app/blobs/${digest}`,
  `/v1/docker.io/Library/app/blobs/${digest}`,
  `/v1/docker.io/library%2Fapp/blobs/${digest}`,
  `/v1/-/library/app/blobs/${digest}`,
  '/v1/docker.io/library/app/tags/.hidden',
  '/v1/docker.io/library/app/visibility/other',
  'http://docker.io/v1/',
])('%j is no request of a sibling', (path) => {
  expect(parseSiblingPath(path)).toBeUndefined();
});

test.each([
  { range: 'bytes=5-', size: 10, part: { start: 5, end: 9 } },
  { range: 'bytes=0-3', size: 10, part: { start: 0, end: 3 } },
  { range: 'bytes=10-', size: 10, part: 'unsatisfiable' },
  { range: 'bytes=0-1,5-6', size: 10, part: undefined },
  { range: 'bytes=5-', size: undefined, part: undefined },
  { range: 'nonsense', size: 10, part: undefined },
  { range: undefined, size: 10, part: undefined },
])('$range of $size bytes is $part', ({ range, size, part }) => {
  expect({ part: partAskedFor(range, size) }).toMatchObject({ part });
});
