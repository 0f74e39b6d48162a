import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { summaryOf } from './pods/pull-summary.ts';
import { podScripts } from './stage.ts';

test('what a loop of pulls saw: each failure with its reason, and the longest time without a success', () => {
  const attempts = [
    { fromMs: 0, toMs: 100, reason: undefined },
    { fromMs: 150, toMs: 400, reason: 'ECONNRESET' },
    { fromMs: 450, toMs: 800.4, reason: undefined },
    { fromMs: 110, toMs: 120, reason: undefined },
    { fromMs: 850, toMs: 860, reason: 'ECONNRESET' },
  ];
  expect(summaryOf(attempts, { lost: 1, endedMs: 1_000 })).toEqual({
    pulls: 5,
    failed: 2,
    lost: 1,
    longestGapMs: 680,
    longestPullMs: 350,
    medianMs: 100,
    reasons: { ECONNRESET: 2 },
    failedAtMs: [
      [150, 400],
      [850, 860],
    ],
  });
  expect(summaryOf([], { lost: 0, endedMs: 7 })).toMatchObject({ pulls: 0, longestGapMs: 7, medianMs: 0, reasons: {} });
});

test('the loop of pulls runs from what a pod has: the scripts in one folder, and Node', async () => {
  const folder = await temporaryDirectory();
  for (const [name, script] of Object.entries(podScripts())) await writeFile(join(folder, name), script);
  const registry = await startFakeRegistry();
  registry.content.add('library/app', 'warm', image());
  const loop = spawn(process.execPath, [join(folder, 'pull-loop.ts'), registry.url, '1'], { stdio: 'pipe' });
  loop.stdin.end();
  const [out, error] = await Promise.all([text(loop.stdout), text(loop.stderr), once(loop, 'close')]);
  expect(error).toBe('');
  expect(JSON.parse(out)).toMatchObject({ failed: 0, lost: 0 });
  expect(registry.count('GET', /\/blobs\//)).toBeGreaterThan(0);
});
