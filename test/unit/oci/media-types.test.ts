import { expect, test } from 'vitest';
import { acceptedManifests, withoutParameters } from '../../../src/oci/media-types.ts';

test.each([
  { text: 'text/html', expected: 'text/html' },
  { text: 'text/html; charset=utf-8', expected: 'text/html' },
  { text: ' text/html ;q=1;x=";"', expected: 'text/html' },
  { text: '', expected: '' },
])('"$text" without parameters is "$expected"', ({ text, expected }) => {
  expect(withoutParameters(text)).toBe(expected);
});

test('indexes are asked for before the manifests of one platform', () => {
  const firstOfOnePlatform = acceptedManifests.findIndex((type) => /manifest\.v[12]\+json$/.test(type));
  const lastIndex = acceptedManifests.findLastIndex((type) => /index|list/.test(type));
  expect(lastIndex).toBeLessThan(firstOfOnePlatform);
});
