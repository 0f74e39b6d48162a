import { expect, test } from 'vitest';
import { RequestLimit } from '../../../../src/upstream/transport/request-limit.ts';

const one = new URL('https://one.test/v2/');
const other = new URL('https://other.test/v2/');

test('as many requests to one host may wait as there are connections to it', () => {
  const limit = new RequestLimit(1);
  const leave = limit.enter(one);
  limit.enter(one);
  expect(() => limit.enter(one)).toThrow(expect.objectContaining({ trouble: 'busy' }));
  limit.enter(other);

  leave();
  leave();
  limit.enter(one);
  expect(() => limit.enter(one)).toThrow(expect.objectContaining({ trouble: 'busy' }));
});
