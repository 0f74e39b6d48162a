import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createApp } from '../../src/app/app.ts';
import { createLogger } from '../../src/telemetry/log.ts';
import { RepeatedLines } from '../../src/telemetry/repeated-lines.ts';
import { configOf } from '../support/config.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

const mebibyte = 1024 * 1024;

function heldMiB(): number {
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return (heapUsed + arrayBuffers) / mebibyte;
}

test('a mirror that has served nothing sets no memory aside for what it will remember', async () => {
  const storage = { path: join(await temporaryDirectory(), 'data') };
  const config = await configOf({ ...mirrorOf({ url: 'http://registry.test' }), storage });
  const logger = createLogger({ level: 'info', repeated: new RepeatedLines() }, () => {});
  const log = { logger, droppedLines: 0, request: () => {}, flush: () => {}, close: async () => {} };
  const build = () => createApp({ config, version: 'test', nodeVersion: 'v0.0.0', log, failpoint: undefined });
  const first = build(); // What all share is made with it.
  const before = heldMiB();
  const more = Array.from({ length: 10 }, build);
  expect(heldMiB() - before).toBeLessThan(40);
  expect([first, ...more]).toHaveLength(11);
});
