import { expect, onTestFinished, test, vi } from 'vitest';
import { createLogger } from '../../../src/telemetry/log.ts';
import { kindOf, RepeatedLines } from '../../../src/telemetry/repeated-lines.ts';

const minuteMs = 60_000;

function started() {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const lines: Record<string, unknown>[] = [];
  const repeated = new RepeatedLines();
  const logger = createLogger({ level: 'info', repeated }, (text) => lines.push(JSON.parse(text)));
  const internalError = (part: string, code: string, text = code) =>
    logger.error({ part, err: Object.assign(new Error(text), { code }) }, 'internal error');
  return { lines, repeated, logger, internalError };
}

test('a failure that repeats thousands of times has ten lines, and one with the number of the others', () => {
  const { lines, internalError } = started();
  for (let count = 1; count <= 30_000; count += 1) internalError('store', 'EMFILE', `open '/data/${count}'`);
  expect(lines).toHaveLength(10);
  vi.advanceTimersByTime(minuteMs);
  expect(lines).toHaveLength(11);
  expect(lines[10]).toMatchObject({
    level: 50,
    msg: 'internal error',
    part: 'store',
    repeated: 29_990,
    err: { code: 'EMFILE', message: "open '/data/30000'" },
  });
});

test('another failure is logged meanwhile: of another part, or with another code', () => {
  const { lines, internalError, logger } = started();
  for (let count = 0; count < 100; count += 1) internalError('store', 'EMFILE');
  internalError('records', 'EMFILE');
  internalError('store', 'EIO');
  logger.warn('a client sends credentials');
  expect(lines.slice(10)).toMatchObject([
    { part: 'records', err: { code: 'EMFILE' } },
    { part: 'store', err: { code: 'EIO' } },
    { msg: 'a client sends credentials' },
  ]);
});

test('a rare failure is logged each time, without a summary', () => {
  const { lines, internalError } = started();
  for (let minute = 0; minute < 5; minute += 1) {
    for (let count = 0; count < 10; count += 1) internalError('store', 'EIO');
    vi.advanceTimersByTime(minuteMs);
  }
  expect(lines).toHaveLength(50);
  expect(lines.filter(({ repeated }) => repeated !== undefined)).toEqual([]);
});

test('the count is logged when the log is closed', () => {
  const { lines, internalError, repeated } = started();
  for (let count = 0; count < 12; count += 1) internalError('store', 'EIO');
  repeated.flush();
  expect(lines[10]).toMatchObject({ repeated: 2 });
});

test('above 1,000 kinds in a minute further ones are counted as one', () => {
  const { lines, logger } = started();
  for (let kind = 0; kind < 5_000; kind += 1) logger.warn({ what: `kind ${kind}` }, 'warning');
  expect(lines).toHaveLength(1_010);
  vi.advanceTimersByTime(minuteMs);
  expect(lines.at(-1)).toMatchObject({ repeated: 3_990 });
});

test('an error that is its own cause has a kind', () => {
  const error = new Error('loop');
  error.cause = error;
  expect(kindOf({ fields: { err: error }, message: 'bug' })).toBe('bug Error Error Error Error Error');
});

test('lines of different requests are of one kind', () => {
  const line = (requestId: string) => kindOf({ fields: { requestId, part: 'a' }, message: 'unexpected error' });
  expect(line('1')).toBe(line('2'));
});
