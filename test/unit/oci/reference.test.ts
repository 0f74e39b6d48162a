import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  anyGlobMatcher,
  globMatcher,
  isRepository,
  isTag,
  parseHostName,
  parseRepository,
  parseTag,
  withoutBrackets,
} from '../../../src/oci/reference.ts';

test.each([
  ['a'],
  ['library/alpine'],
  ['0/1/2'],
  ['a.b/c_d/e__f/g-h/i--j/k---l'],
  ['xn--bcher-kva.example/app'],
  ['a'.repeat(255)],
])('%s is a repository', (name) => {
  expect(parseRepository(name)).toBe(name);
});

test.each([
  [''],
  ['/a'],
  ['a/'],
  ['a//b'],
  ['A'],
  ['a/B'],
  ['.'],
  ['..'],
  ['a/..'],
  ['a/../b'],
  ['.a'],
  ['a.'],
  ['a..b'],
  ['_a'],
  ['a_'],
  ['a___b'],
  ['-a'],
  ['a-'],
  ['a._b'],
  ['a b'],
  ['a\n'],
  ['a\0b'],
  ['a\\b'],
  ['a:b'],
  ['a%2fb'],
  ['ä'],
  ['a'.repeat(256)],
])('%j is rejected as a repository', (name) => {
  expect(isRepository(name)).toBe(false);
  expect(() => parseRepository(name)).toThrow(expect.objectContaining({ name: 'OciError', code: 'NAME_INVALID' }));
});

test.each([['a'], ['1'], ['_'], ['Latest'], ['v1.2.3-rc_1'], ['a..b'], ['a--'], ['a'.repeat(128)]])(
  '%s is a tag',
  (tag) => {
    expect(parseTag(tag)).toBe(tag);
  },
);

test.each([[''], ['.a'], ['-a'], ['a b'], ['a/b'], ['a:b'], ['a+b'], ['a\n'], ['ä'], ['a'.repeat(129)]])(
  '%j is rejected as a tag',
  (tag) => {
    expect(isTag(tag)).toBe(false);
    expect(() => parseTag(tag)).toThrow(expect.objectContaining({ name: 'OciError', code: 'TAG_INVALID' }));
  },
);

/** The store makes folders of them: whatever the text, none of these may ever pass. */
test('no repository has a component with a special meaning for a file system or the store', () => {
  const characters = fc.constantFrom('a', '0', '.', '_', '-', '/', '\\', '\0', '%', 'A', ' ', '~', ':');
  fc.assert(
    fc.property(fc.string({ unit: characters, maxLength: 12 }), (name) => {
      fc.pre(isRepository(name));
      for (const component of name.split('/')) {
        expect(component).toMatch(/^[a-z0-9]/);
        expect(component).not.toMatch(/[^a-z0-9._-]|\.\.|^\.|^_/);
      }
    }),
    { numRuns: 2_000 },
  );
});

test('a long name that nearly matches is rejected at once', () => {
  const startedAt = performance.now();
  for (const piece of ['a-', 'a__', '-', 'a.', 'a/']) expect(isRepository(`${piece.repeat(80)}!`)).toBe(false);
  expect(performance.now() - startedAt).toBeLessThan(500);
});

test.each([
  ['docker.io', 'docker.io'],
  ['GHCR.io', 'ghcr.io'],
  ['localhost:5000', 'localhost:5000'],
  ['127.0.0.1:5000', '127.0.0.1:5000'],
  ['[::1]:5000', '[::1]:5000'],
  [`${'a'.repeat(63)}.gcr.io`, `${'a'.repeat(63)}.gcr.io`],
])('%s is the host %s', (text, name) => {
  expect(parseHostName(text)).toBe(name);
});

test.each([
  [''],
  ['.'],
  ['..'],
  ['a..b'],
  ['ghcr.io.'],
  ['-a.test'],
  ['a-.test'],
  ['my_host.test'],
  ['user@ghcr.io'],
  ['ghcr.io:'],
  ['ghcr.io:123456'],
  ['ghcr.io/v2'],
  ['ghcr.io, docker.io'],
  ['doc\u212Aer.io'],
  ['docker.\u0131o'],
  ['\u1E9E.test'],
  ['a\nb.test'],
  ['[::1'],
  [`${'a'.repeat(64)}.gcr.io`],
  [`${'a.'.repeat(150)}gcr.io`],
])('%j is rejected as a host', (text) => {
  expect(parseHostName(text)).toBeUndefined();
});

test.each([
  { glob: 'library/alpine', name: 'library/alpine', expected: true },
  { glob: 'library/alpine', name: 'library/alpine2', expected: false },
  { glob: 'library/alpine', name: 'xlibrary/alpine', expected: false },
  { glob: 'library/*', name: 'library/alpine', expected: true },
  { glob: 'library/*', name: 'library/a/b', expected: false },
  { glob: 'library/*', name: 'library', expected: false },
  { glob: '*/alpine', name: 'library/alpine', expected: true },
  { glob: 'lib*ry/al*e', name: 'library/alpine', expected: true },
  { glob: '**', name: 'anything/at/all', expected: true },
  { glob: '**', name: '', expected: true },
  { glob: '**:latest', name: 'docker.io/library/alpine:latest', expected: true },
  { glob: '**:latest', name: 'docker.io/library/alpine:latest-1', expected: false },
  { glob: '**:v*', name: 'ghcr.io/a/b:v1.2', expected: true },
  { glob: 'team/**/app', name: 'team/a/b/app', expected: true },
  { glob: 'a.b', name: 'axb', expected: false },
  { glob: 'a+b(c)[d]^$|{e}?', name: 'a+b(c)[d]^$|{e}?', expected: true },
  { glob: '*', name: 'a\nb', expected: true },
])('$glob on $name: $expected', ({ glob, name, expected }) => {
  expect(globMatcher(glob)(name)).toBe(expected);
});

test('a name must match one of several globs, and matches none of an empty list', () => {
  expect(anyGlobMatcher(['a', 'b/*'])('b/c')).toBe(true);
  expect(anyGlobMatcher(['a', 'b/*'])('c')).toBe(false);
  expect(anyGlobMatcher([])('a')).toBe(false);
});

test('a glob without stars matches itself only', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (text, other) => {
      fc.pre(!text.includes('*'));
      expect(globMatcher(text)(text)).toBe(true);
      expect(globMatcher(text)(other)).toBe(text === other);
    }),
  );
});

test.each([
  ['http://[2001:db8::1]:5000', '2001:db8::1'],
  ['http://[::ffff:10.0.0.1]', '::ffff:a00:1'],
  ['http://10.0.0.1:5000', '10.0.0.1'],
  ['redis://[::1]:6379', '::1'],
  ['http://registry.example:5000', 'registry.example'],
])('the host of %s is looked up and compared as %s', (url, host) => {
  expect(withoutBrackets(new URL(url).hostname)).toBe(host);
});

test.each([['[::1'], ['::1]'], ['']])('what is no host in brackets stays as it is: "%s"', (text) => {
  expect(withoutBrackets(text)).toBe(text);
});
