import { expect, test } from 'vitest';
import { hitRates, trafficIn } from '../../../../../src/http/management/pages/views/traffic.ts';

const nowMs = Date.UTC(2030, 0, 1, 12, 0, 30);

function minute(agoMinutes: number, served: number) {
  const at = new Date(Math.floor(nowMs / 60_000) * 60_000 - agoMinutes * 60_000).toISOString();
  return {
    at,
    requests: { hit: 3, revalidated: 1, stale: 0, collapsed: 0, negative: 0, miss: 1, none: 9 },
    bytes: { served, fromUpstream: 1 },
    upstreamRequests: 2,
  };
}

test('minutes are told in equal parts up to now, and a part without any has nothing', () => {
  const traffic = trafficIn([minute(3, 100), minute(2, 10), minute(0, 1)], { nowMs, parts: 4, minutesEach: 1 });
  expect(traffic.map(({ served }) => served)).toEqual([100, 10, 0, 1]);
  expect(traffic[0]).toEqual({ served: 100, fromUpstream: 1, requests: 5, hits: 4, upstreamRequests: 2 });
});

test('several minutes are one part, and what is older or of the future is left out', () => {
  const minutes = [minute(4, 1000), minute(3, 100), minute(2, 10), minute(0, 1), minute(-1, 5000)];
  const traffic = trafficIn(minutes, { nowMs, parts: 2, minutesEach: 2 });
  expect(traffic.map(({ served }) => served)).toEqual([110, 1]);
});

test('the hit ratio of a part without requests is that of before', () => {
  const part = (requests: number, hits: number) => ({
    served: 0,
    fromUpstream: 0,
    upstreamRequests: 0,
    requests,
    hits,
  });
  expect(hitRates([part(0, 0), part(4, 3), part(0, 0), part(2, 2)])).toEqual([0, 0.75, 0.75, 1]);
});
