import { expect, test } from 'vitest';
import { hostInsteadOf } from '../../../src/http/server.ts';

const failed = (code: string): Error => Object.assign(new Error(`listen ${code}`), { code });

test.each([
  { host: '::', code: 'EAFNOSUPPORT', other: '0.0.0.0' },
  { host: '::', code: 'EADDRNOTAVAIL', other: '0.0.0.0' },
  { host: '::', code: 'EADDRINUSE', other: undefined },
  { host: '::', code: 'EACCES', other: undefined },
  { host: '::1', code: 'EAFNOSUPPORT', other: undefined },
  { host: '192.0.2.1', code: 'EADDRNOTAVAIL', other: undefined },
])('where $host cannot be listened on for $code, it is $other instead', ({ host, code, other }) => {
  expect(hostInsteadOf(host, failed(code))).toBe(other);
});
