import { expect, test } from 'vitest';
import { cacheStatusHeader } from '../../../../src/http/response/content-response.ts';
import type { CacheStatus } from '../../../../src/mirror/ports/cache-status.ts';

const cases: readonly { readonly status: CacheStatus; readonly header: string | undefined }[] = [
  { status: { word: 'hit' }, header: 'layerwell; hit' },
  {
    status: { word: 'miss', upstreamStatus: 200, stored: true },
    header: 'layerwell; fwd=uri-miss; fwd-status=200; stored',
  },
  { status: { word: 'miss', upstreamStatus: 200 }, header: 'layerwell; fwd=uri-miss; fwd-status=200' },
  { status: { word: 'miss', upstreamStatus: 200, stored: false }, header: 'layerwell; fwd=uri-miss; fwd-status=200' },
  { status: { word: 'collapsed', upstreamStatus: 200 }, header: 'layerwell; fwd=uri-miss; fwd-status=200; collapsed' },
  {
    status: { word: 'revalidated', upstreamStatus: 200 },
    header: 'layerwell; fwd=stale; fwd-status=200; detail=revalidated',
  },
  {
    status: { word: 'stale', upstreamStatus: 503, reason: 'error' },
    header: 'layerwell; fwd=stale; fwd-status=503; detail=stale',
  },
  { status: { word: 'stale', reason: 'connect' }, header: 'layerwell; fwd=stale; detail=stale' },
  { status: { word: 'negative' }, header: 'layerwell; hit; detail=negative' },
  { status: { word: 'none' }, header: undefined },
  {
    status: { word: 'miss', upstreamStatus: 200, stored: true, via: 'sibling' },
    header: 'layerwell-sibling, layerwell; fwd=uri-miss; fwd-status=200; stored',
  },
];

test.each(cases)('$status → $header', ({ status, header }) => {
  expect(cacheStatusHeader(status)).toBe(header);
});

/** RFC 9211 §2: a list member with parameters, by the grammar of RFC 9651 §3.3.4. */
test.each(cases.filter(({ header }) => header !== undefined))('$header is a structured field', ({ header }) => {
  expect(header).toMatch(/^(?:layerwell-[a-z]+, )?layerwell(?:; [a-z][a-z-]*(?:=(?:\d+|[a-z][a-z-]*))?)+$/);
});
