import { expect, test } from 'vitest';
import { nextLink } from '../../../../src/upstream/api/pages.ts';

test.each([
  { header: '</v2/a/tags/list?n=2&last=b>; rel="next"', expected: '/v2/a/tags/list?n=2&last=b' },
  { header: '</next>; rel=next', expected: '/next' },
  { header: '</next>;title="x; rel=\\"prev\\"" ; REL="Next"', expected: '/next' },
  { header: '</a,b;c>; rel="next"', expected: '/a,b;c' },
  { header: '</prev>; rel="prev", </next>; rel="next"', expected: '/next' },
  { header: ['</prev>; rel="prev"', '</next>; rel="last next"'], expected: '/next' },
  { header: '/v2/a/tags/list?n=2&last=b; rel="next"', expected: '/v2/a/tags/list?n=2&last=b' },
  { header: "</next>; rel='next'", expected: '/next' },
  { header: '/prev; rel="prev"', expected: undefined },
  { header: '</prev>; rel="prev"', expected: undefined },
  { header: '</none>', expected: undefined },
  { header: '</broken; rel="next"', expected: undefined },
  { header: '', expected: undefined },
  { header: undefined, expected: undefined },
])('the next page of $header is $expected', ({ header, expected }) => {
  expect(nextLink(header)).toBe(expected);
});
