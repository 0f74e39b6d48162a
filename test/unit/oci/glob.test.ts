import fc from 'fast-check';
import { expect, test } from 'vitest';
import { anyGlobMatcher, globMatcher } from '../../../src/oci/glob.ts';

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
