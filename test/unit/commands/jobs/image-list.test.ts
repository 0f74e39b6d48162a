import { expect, test } from 'vitest';
import { batchesOf, fullNames, namesIn, ofUpstreams } from '../../../../src/commands/jobs/image-list.ts';

test('a list has an image a line, comments and empty lines', () => {
  const list = '\uFEFF# base images\r\nnginx:1.27\r\n\n  ghcr.io/acme/app:1   # the app\n\t\n#redis\nfoo#bar\n';
  expect(namesIn(list)).toEqual(['nginx:1.27', 'ghcr.io/acme/app:1', 'foo#bar']);
  expect(namesIn('')).toEqual([]);
});

test('names are completed as docker pull does, each is named once, and what is no name is told', () => {
  expect(fullNames(['nginx', 'docker.io/library/nginx:latest', 'redis:7', 'No', 'foo#bar'])).toEqual({
    images: ['docker.io/library/nginx:latest', 'docker.io/library/redis:7'],
    problems: ['No: "No" is no name of a repository', 'foo#bar: "foo#bar" is no name of a repository'],
  });
});

const upstreams = ['docker.io', 'ghcr.io', '*.pkg.dev', 'gcr.io'];

test.each([
  ['nginx:1', ['docker.io/library/nginx:1']],
  ['mirror.internal:5000/docker.io/library/nginx:1', ['docker.io/library/nginx:1']],
  ['mirror.internal/ghcr.io/acme/app@sha256:' + 'a'.repeat(64), ['ghcr.io/acme/app@sha256:' + 'a'.repeat(64)]],
  ['localhost:5000/europe.pkg.dev/acme/app:1', ['europe.pkg.dev/acme/app:1']],
  // A project of gcr.io may have the name of a domain.
  ['gcr.io/example.com/app:1', ['gcr.io/example.com/app:1']],
  ['europe.pkg.dev/acme/app:1', ['europe.pkg.dev/acme/app:1']],
  ['quay.io/acme/app:1', []],
  ['mirror.internal/quay.io/acme/app:1', []],
  ['a.b.pkg.dev/acme/app:1', []],
  ['Not a name', []],
])('what a pod names %s is, at the upstreams of the mirror, %j', (name, images) => {
  expect(ofUpstreams([name, name], upstreams)).toEqual({ images, others: images.length === 0 ? [name] : [] });
});

test('a mirror of all registries knows itself by none of its names, and still what it names', () => {
  expect(ofUpstreams(['mirror.internal/ghcr.io/acme/app:1'], ['ghcr.io', '**']).images).toEqual(['ghcr.io/acme/app:1']);
});

test('a request has at most 250 images, and few of long names', () => {
  const sizesOf = (images: readonly string[]) => batchesOf(images).map((batch) => batch.length);
  expect(sizesOf([])).toEqual([]);
  expect(sizesOf(Array(501).fill('docker.io/library/nginx:1'))).toEqual([250, 250, 1]);
  const long = Array.from({ length: 250 }, (_, nth) => `registry.test/${'a'.repeat(230)}/${nth}:${'1'.repeat(120)}`);
  for (const batch of batchesOf(long)) expect(JSON.stringify(batch).length).toBeLessThan(50_000);
  expect(batchesOf(long).flat()).toEqual(long);
});
