import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import { createLog, createLogger, maxHeldLogBytes, requestLines } from '../../../src/telemetry/log.ts';
import { RepeatedLines } from '../../../src/telemetry/repeated-lines.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';

const line = {
  method: 'GET',
  path: '/v2/"quoted"\\\n\u0000\u2028\ud800/ü',
  status: 200,
  repository: undefined,
  durationMs: 0.25,
  client: '::1',
  aborted: false,
};

function logs(level: string) {
  const [ours, theirs]: [string[], string[]] = [[], []];
  const logger = pino({ level, base: null }, { write: (text: string) => void theirs.push(text) });
  return { logger, request: requestLines(logger, (text) => ours.push(text)), ours, theirs };
}

test('a line of the access log is the same as the logger writes', () => {
  const { logger, request, ours, theirs } = logs('info');
  request(line);
  logger.info(line, 'request');
  expect(ours).toHaveLength(1);
  expect(ours[0]).toMatch(/^[^\n]+\n$/);
  const [our, their] = [ours, theirs].map(([text = '']): unknown => JSON.parse(text));
  expect(our).toEqual({ ...Object(their), time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) });
  expect(Object.keys(Object(our))).toEqual(Object.keys(Object(their)));
});

test('every line names the replica, if there is one', () => {
  const [ours, theirs]: [string[], string[]] = [[], []];
  const replica = 'pod-0.0123456789ab';
  const logger = createLogger({ level: 'info', replica, repeated: new RepeatedLines() }, (text) => theirs.push(text));
  requestLines(logger, (text) => ours.push(text), replica)(line);
  logger.info(line, 'request');
  const [our, their] = [ours, theirs].map(([text = '']): unknown => JSON.parse(text));
  expect(our).toMatchObject({ replica });
  expect(Object.keys(Object(our))).toEqual(Object.keys(Object(their)));
});

test('the access log is written at level info, if that level is enabled', () => {
  const { logger, request, ours } = logs('warn');
  request(line);
  expect(ours).toEqual([]);
  logger.level = 'debug';
  request(line);
  expect(ours).toHaveLength(1);
});

/** A pipe of which the test reads what it wants; it holds 64 KiB. */
async function stalledPipe() {
  const path = join(await temporaryDirectory(), 'pipe');
  execFileSync('mkfifo', [path]);
  const fd = openSync(path, constants.O_RDWR);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const buffer = Buffer.alloc(64 * 1024);
  const read = (): string => {
    try {
      return buffer.toString('utf8', 0, readSync(reader, buffer));
    } catch {
      return '';
    }
  };
  onTestFinished(() => {
    while (read() !== '');
    closeSync(reader); // The other end is the log's to close.
  });
  return { fd, read };
}

const text = 'x'.repeat(1_000);

test('lines for a stalled reader are dropped and counted above a limit, and closing waits only briefly', async () => {
  const { fd } = await stalledPipe();
  const log = createLog({ level: 'info', fd });
  const lines = (2 * maxHeldLogBytes) / text.length;
  for (let line = 0; line < lines; line += 1) {
    for (let request = 0; request < 2; request += 1) log.request({ path: text });
    if (line % 100 === 0) await nextTurn();
  }
  const writtenBytes = 64 * 1024;
  expect(log.droppedLines).toBeGreaterThan(2 * lines - (maxHeldLogBytes + writtenBytes) / text.length);
  const closedAt = performance.now();
  await log.close();
  expect(performance.now() - closedAt).toBeLessThan(5_000);
  log.logger.info('after the end');
  log.request({ path: 'after the end' });
});

test('a reader that recovers gets the buffered lines, and later ones', async () => {
  const { fd, read } = await stalledPipe();
  const log = createLog({ level: 'info', fd });
  for (let line = 0; line < 200; line += 1) log.logger.info(`${line} ${text}`);
  log.flush();
  let received = '';
  await expect.poll(() => (received += read()).includes('"199 xxx')).toBe(true);
  log.logger.info('the last');
  const closing = log.close();
  await expect.poll(() => (received += read()).includes('"the last"')).toBe(true);
  await closing;
  expect(log.droppedLines).toBe(0);
  expect(received.trim().split('\n')).toHaveLength(201);
});

test('a line names the trace of the request that runs, if there is one', () => {
  const lines: Record<string, unknown>[] = [];
  const now: { trace: string | undefined } = { trace: undefined };
  const options = { level: 'info', traceId: () => now.trace, repeated: new RepeatedLines() } as const;
  const logger = createLogger(options, (text) => lines.push(JSON.parse(text)));
  logger.warn('before');
  now.trace = '0af7651916cd43dd8448eb211c80319c';
  logger.warn({ upstream: 'docker.io' }, 'download failed');

  expect(lines[0]).not.toHaveProperty('traceId');
  expect(lines[1]).toMatchObject({ traceId: now.trace, upstream: 'docker.io', msg: 'download failed' });
});
