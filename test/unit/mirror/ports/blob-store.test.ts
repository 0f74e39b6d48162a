import { expect, test } from 'vitest';
import { refusesForNow } from '../../../../src/mirror/ports/blob-store.ts';

test.each(['ENOSPC', 'EDQUOT', 'EROFS'])('%s may be over without anybody touching the mirror', (code) => {
  expect(refusesForNow(Object.assign(new Error(code), { code }))).toBe(true);
});

test.each(['EACCES', 'EPERM', 'ENOENT', 'ENOTDIR', 'EXDEV'])('%s is a mistake that somebody has to mend', (code) => {
  expect(refusesForNow(Object.assign(new Error(code), { code }))).toBe(false);
});

test('so is whatever is no errno', () => {
  for (const error of [new Error('ENOSPC'), { code: 'ENOSPC' }, undefined]) expect(refusesForNow(error)).toBe(false);
});
