import { expect, test } from 'vitest';
import { targetIn } from '../../../src/commands/content/purge.ts';
import { namedText, parseNamed } from '../../../src/http/management/pages/names.ts';
import { parsePin } from '../../../src/mirror/administration/pins/pin-set.ts';
import { imageText, parseImageName, splitImageName } from '../../../src/oci/image-name.ts';

const digest = `sha256:${'a'.repeat(64)}`;

test.each([
  ['nginx', 'docker.io/library/nginx:latest'],
  ['nginx:1.27', 'docker.io/library/nginx:1.27'],
  ['grafana/grafana:11', 'docker.io/grafana/grafana:11'],
  ['docker.io/nginx', 'docker.io/library/nginx:latest'],
  ['index.docker.io/library/nginx', 'docker.io/library/nginx:latest'],
  ['GHCR.io/acme/app:1', 'ghcr.io/acme/app:1'],
  ['ghcr.io/app', 'ghcr.io/app:latest'],
  ['localhost/app', 'localhost/app:latest'],
  ['localhost:5000/app:1', 'localhost:5000/app:1'],
  ['[::1]:5000/app', '[::1]:5000/app:latest'],
  [`nginx@${digest}`, `docker.io/library/nginx@${digest}`],
  [`nginx:1.27@${digest}`, `docker.io/library/nginx@${digest}`],
])('%s is %s, as docker pull has it', (text, full) => {
  const name = parseImageName(text);
  expect(typeof name === 'string' ? name : imageText(name)).toBe(full);
});

test.each([
  '',
  ':1',
  '@',
  '/nginx',
  'nginx:',
  'nginx@',
  'nginx@sha256:abc',
  'Nginx',
  'nginx:-x',
  'ghcr.io/',
  'a b',
  'nginx\n',
  'https://ghcr.io/acme/app',
  'bad_host.io_/app',
])('%j is no name of an image', (text) => {
  expect(parseImageName(text)).toEqual(expect.any(String));
});

test.each([
  ['docker.io/library/nginx', ['docker.io/library/nginx', undefined, undefined]],
  ['localhost:5000/app', ['localhost:5000/app', undefined, undefined]],
  ['localhost:5000/app:1', ['localhost:5000/app', '1', undefined]],
  ['[::1]:5000/a/b:1@sha256:x', ['[::1]:5000/a/b', '1', 'sha256:x']],
  ['a/b@', ['a/b', undefined, '']],
  ['a/b:c:d', ['a/b:c', 'd', undefined]],
  ['docker.io/library/*:*-dev', ['docker.io/library/*', '*-dev', undefined]],
])('%s is split into its parts as it is written', (text, parts) => {
  const { name, tag, digest } = splitImageName(text);
  expect([name, tag, digest]).toEqual(parts);
});

test('every parser of names agrees on ports, tags and digests, and differs only in what it adds', () => {
  const names: readonly (readonly [string, string | undefined, string | undefined])[] = [
    ['reg.test:5000/a/b', '1', undefined],
    ['docker.io/library/nginx', undefined, digest],
  ];
  for (const [name, tag, one] of names) {
    const text = `${name}${tag === undefined ? `@${one}` : `:${tag}`}`;
    const parsed = parseImageName(text);
    expect(typeof parsed === 'string' ? parsed : imageText(parsed)).toBe(text);
    const named = parseNamed(text);
    expect(named && namedText(named)).toBe(text);
    expect(parsePin(text)?.text).toBe(text);
    const target = { repository: name, ...(tag === undefined ? { digest: one } : { tag }) };
    expect(targetIn(text, { allTags: false })).toEqual(target);
  }
  expect(parseImageName('nginx')).toMatchObject({ registry: 'docker.io', repository: 'library/nginx' });
  expect([parseNamed('nginx'), parsePin('nginx')]).toEqual([undefined, undefined]);
  expect(targetIn('nginx', { allTags: true })).toMatch('full name');
});
