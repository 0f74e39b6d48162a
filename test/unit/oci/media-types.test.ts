import { expect, test } from 'vitest';
import { acceptedManifests, isMediaType, mediaTypeIn } from '../../../src/oci/media-types.ts';

const long = 'a'.repeat(127);

test.each([
  { text: 'text/html', expected: 'text/html' },
  { text: 'text/html; charset=utf-8', expected: 'text/html' },
  { text: ' text/html ;q=1;x=";"', expected: 'text/html' },
  { text: '', expected: undefined },
  { text: undefined, expected: undefined },
  { text: 'text', expected: undefined },
  { text: 'text/', expected: undefined },
])('"$text" without parameters is $expected', ({ text, expected }) => {
  expect(mediaTypeIn(text)).toBe(expected);
});

test('the longest media type has 255 characters', () => {
  expect(isMediaType(`${long}/${long}`)).toBe(true);
  expect(isMediaType(`${long}a/${long}`)).toBe(false);
  expect(isMediaType(`${long}/${long}a`)).toBe(false);
});

test.each([
  'a/b\n',
  'a/b\r\nSet-Cookie: x=1',
  'a/b\u0000',
  'a/b c',
  'a/\u00e9',
  'a/\u{1f600}',
  'a/b/c',
  '.a/b',
  'a/+b',
  5,
  null,
])('%j is rejected as a media type', (text) => {
  expect(isMediaType(text)).toBe(false);
});

test('indexes come before manifests of one platform in Accept', () => {
  const firstOfOnePlatform = acceptedManifests.findIndex((type) => /manifest\.v[12]\+json$/.test(type));
  const lastIndex = acceptedManifests.findLastIndex((type) => /index|list/.test(type));
  expect(lastIndex).toBeLessThan(firstOfOnePlatform);
});
