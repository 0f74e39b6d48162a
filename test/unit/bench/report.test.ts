import { expect, test } from 'vitest';
import { reportOf } from '../../../bench/report.ts';
import { type Sample, summarise } from '../../../bench/samples.ts';
import { cpuRatioTo, ratioTo } from '../../../bench/table.ts';
import { verdictsOn } from '../../../bench/targets.ts';

const mebibyte = 1024 ** 2;

function warmBlob(contender: Sample['contender'], seconds: number, cpuSeconds: number): Sample {
  return { measurement: 'warm-blob', contender, seconds, cpuSeconds, memoryBytes: 50 * mebibyte };
}

function byTag(contender: Sample['contender'], requests: number): Sample {
  return { measurement: 'warm-manifest-tag', contender, seconds: 2, requests, cpuSeconds: 1, memoryBytes: mebibyte };
}

test('the report uses the median of the runs, not their mean', () => {
  const [odd] = summarise([1, 9, 2].map((seconds) => warmBlob('Layerwell', seconds, seconds)));
  expect(odd?.seconds).toEqual({ least: 1, median: 2, most: 9 });
  const [even] = summarise([1, 9, 2, 4].map((seconds) => warmBlob('Layerwell', seconds, seconds)));
  expect(even?.seconds.median).toBe(3);
});

test('for counted requests the report has the CPU time of one', () => {
  const [summary] = summarise([byTag('Layerwell', 10_000)]);
  expect(summary?.requestsPerSecond?.median).toBe(5_000);
  expect(summary?.cpuSeconds?.median).toBe(1 / 10_000);
});

test('a ratio compares times for timed scenarios, and requests for counted ones', () => {
  const [proxy, own] = summarise([warmBlob('distribution proxy', 4, 2), warmBlob('Layerwell', 2, 1.5)]);
  expect(own && [ratioTo(proxy, own), cpuRatioTo(proxy, own)]).toEqual([0.5, 0.75]);
  const [koa, layerwell] = summarise([byTag('bare Koa', 8_000), byTag('Layerwell', 6_000)]);
  expect(layerwell && ratioTo(koa, layerwell)).toBe(0.75);
});

test('a target is judged only if it was measured', () => {
  const verdicts = verdictsOn(summarise([warmBlob('distribution proxy', 4, 2), warmBlob('Layerwell', 2, 1.9)]));
  expect(verdicts.map(({ measured, isMet }) => ({ measured, isMet }))).toEqual([
    { measured: 0.5, isMet: true },
    { measured: 0.95, isMet: false },
  ]);
});

test('the highest memory of any run is judged, not the median', () => {
  const samples = [90, 100, 300].map(
    (size): Sample => ({ ...warmBlob('Layerwell', 1, 1), measurement: 'cold-50', memoryBytes: size * mebibyte }),
  );
  expect(verdictsOn(summarise(samples))).toContainEqual({
    target: 'cold blob, 50 clients: peak memory, MiB ≤ 200',
    measured: 300,
    isMet: false,
  });
});

test('the report names each missed target and its number', () => {
  const samples = [byTag('bare Koa', 20_000), byTag('Layerwell', 9_000)];
  const report = reportOf(
    { summaries: summarise(samples), bounds: [] },
    { date: new Date(0), runs: 1, machine: ['2 processors'] },
  );
  expect(report).toContain('- **missed**: warm manifest by tag: requests/s, × bare Koa ≥ 0.75 (0.45)');
  expect(report).toContain('- 2 processors');
  expect(report).toMatch(/\| warm manifest by tag \| bare Koa +\| 10,000\/s \|/);
});

test('a bound is judged by its limit', () => {
  const bounds = [
    { what: 'memory gained, MiB', measured: 160, limit: 160 },
    { what: 'ms a victim', measured: 5.2, limit: 5 },
  ];
  const report = reportOf({ summaries: [], bounds }, { date: new Date(0), runs: 1, machine: [] });
  expect(report).toContain('- met: memory gained, MiB ≤ 160 (160)');
  expect(report).toContain('- **missed**: ms a victim ≤ 5 (5.2)');
});
