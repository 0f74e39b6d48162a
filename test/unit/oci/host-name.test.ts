import { expect, test } from 'vitest';
import { parseHostName } from '../../../src/oci/host-name.ts';

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
])('%j is no host', (text) => {
  expect(parseHostName(text)).toBeUndefined();
});
