import { pino } from 'pino';
import { expect, test } from 'vitest';
import { requestLines } from '../../../src/telemetry/log.ts';

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

test('a line of the access log is what the logger would write of it', () => {
  const { logger, request, ours, theirs } = logs('info');
  request(line);
  logger.info(line, 'request');
  expect(ours).toHaveLength(1);
  expect(ours[0]).toMatch(/^[^\n]+\n$/);
  const [our, their] = [ours, theirs].map(([text = '']): unknown => JSON.parse(text));
  expect(our).toEqual({ ...Object(their), time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) });
  expect(Object.keys(Object(our))).toEqual(Object.keys(Object(their)));
});

test('it is written at level info, as long as that is the level', () => {
  const { logger, request, ours } = logs('warn');
  request(line);
  expect(ours).toEqual([]);
  logger.level = 'debug';
  request(line);
  expect(ours).toHaveLength(1);
});
