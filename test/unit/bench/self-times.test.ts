import { expect, test } from 'vitest';
import { selfTimes } from '../../../bench/self-times.ts';

const frame = (functionName: string, lineNumber = 0) => ({
  functionName,
  url: 'file:///x/src/mirror/a.ts',
  lineNumber,
});
const nodes = [
  { id: 1, callFrame: { functionName: '(idle)', url: '', lineNumber: -1 } },
  { id: 2, callFrame: frame('read', 4) },
  { id: 3, callFrame: frame('read', 4) },
];

test('samples of one function are added up, whatever called it, within the span only', () => {
  const profile = { nodes, samples: [1, 2, 3, 1, 2], timeDeltas: [1_000, 2_000, 2_000, 1_000, 50_000] };
  expect(selfTimes(profile, { fromMs: 2, toMs: 10 })).toEqual([
    { name: 'read src/mirror/a.ts:5', seconds: 0.004, share: 0.8 },
    { name: '(idle)', seconds: 0.001, share: 0.2 },
  ]);
});

test('a file that is not a profile is rejected', () => {
  expect(() => selfTimes({ nodes: [] }, { fromMs: 0, toMs: 1 })).toThrow(/not a CPU profile/);
});
