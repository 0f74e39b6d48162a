import { expect, test } from 'vitest';
import { refusesForNow } from '../../../../src/mirror/ports/blob-store.ts';

test.each(['ENOSPC', 'EDQUOT', 'EROFS'])("%s may pass without anybody's action", (code) => {
  expect(refusesForNow(Object.assign(new Error(code), { code }))).toBe(true);
});

test.each(['EACCES', 'EPERM', 'ENOENT', 'ENOTDIR', 'EXDEV'])('%s needs an operator', (code) => {
  expect(refusesForNow(Object.assign(new Error(code), { code }))).toBe(false);
});

test('an unknown error needs an operator too', () => {
  for (const error of [new Error('ENOSPC'), { code: 'ENOSPC' }, undefined]) expect(refusesForNow(error)).toBe(false);
});
