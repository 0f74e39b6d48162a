import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createTrafficHistory } from '../../../../src/app/administration/traffic-history.ts';
import type { AnswerTotals } from '../../../../src/telemetry/answers.ts';
import { createLogger } from '../../../../src/telemetry/log.ts';
import { RepeatedLines } from '../../../../src/telemetry/repeated-lines.ts';
import type { CacheWord } from '../../../../src/mirror/ports/cache-status.ts';
import { gate } from '../../../support/gate.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { ScriptedFiles } from '../../../support/scripted-files.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

const forever = { signal: new AbortController().signal };
const writes = ({ operation, path }: { operation: string; path: string }) =>
  operation === 'rename' && path.endsWith('/minutes.json');

/** A folder, and processes that count in it one after another. */
async function place() {
  const path = await temporaryDirectory();
  const [clock, files] = [new ManualClock(), new ScriptedFiles()];
  const [lines, failures]: [string[], unknown[]] = [[], []];
  const logger = createLogger({ level: 'info', repeated: new RepeatedLines() }, (line) => lines.push(line));
  const process = () => {
    const hits = { answers: 0, bytes: 0 };
    const upstream = { requests: 0, bytes: 0 };
    const history = createTrafficHistory(
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- of the lock only this is used
      { stores: { lock: { hold: async () => {} } } as never, files, path },
      {
        counters: {
          answerTotals: () => new Map<CacheWord, AnswerTotals>([['hit', { ...hits }]]),
          upstreamTotals: () => ({ ...upstream }),
        },
        clock,
        observer: { internalError: ({ cause }) => failures.push(cause) },
        log: { logger },
      },
    );
    const serve = (answers: number) => {
      hits.answers += answers;
      hits.bytes += 100 * answers;
      upstream.requests += 1;
      upstream.bytes += 10;
    };
    const listed = () =>
      history.list({ fromMs: undefined }).items.map(({ at, requests }) => [at.slice(11, 16), requests.hit]);
    return { history, serve, listed };
  };
  return { path, clock, files, lines, failures, process, file: join(path, 'minutes.json') };
}

test('each minute has what was served and received in it', async () => {
  const { clock, process } = await place();
  const { history, serve } = process();
  await history.start();
  serve(3);
  history.tick();
  clock.advance(60_000);
  serve(1);
  expect(history.list({ fromMs: undefined }).items).toEqual([
    {
      at: '2030-01-01T00:00:00.000Z',
      requests: { hit: 3, revalidated: 0, stale: 0, collapsed: 0, miss: 0, negative: 0, none: 0 },
      bytes: { served: 300, fromUpstream: 10 },
      upstreamRequests: 1,
    },
    expect.objectContaining({ at: '2030-01-01T00:01:00.000Z', upstreamRequests: 1 }),
  ]);
});

test('after a restart the curve goes on, with a gap', async () => {
  const { clock, process } = await place();
  const first = process();
  await first.history.start();
  first.serve(2);
  await first.history.stop(forever);
  clock.advance(5 * 60_000);
  const second = process();
  await second.history.start();
  second.serve(1);
  expect(second.listed()).toEqual([
    ['00:00', 2],
    ['00:05', 1],
  ]);
});

test('the file is written once a minute, whole or not at all', async () => {
  const { clock, process, files, path, file } = await place();
  const { history, serve } = process();
  await history.start();
  for (let tick = 0; tick < 18; tick += 1) {
    clock.advance(10_000);
    serve(1);
    history.tick();
    await expect.poll(() => files.calls.filter(writes).length).toBe(Math.floor((tick + 1) / 6));
  }
  await history.stop(forever);
  expect(files.calls.filter(writes)).toHaveLength(4);
  expect(files.calls.filter(({ operation, path: of }) => operation === 'write' && of === file)).toEqual([]);
  expect((await readdir(join(path, 'incoming'))).length).toBe(0);
  expect((await readFile(file)).length).toBeLessThan(1_000);
});

test.each([
  ['cut in the middle', '{"format":"1'],
  ['of another program', '{}'],
  ['without an end', `[${'1,'.repeat(300_000)}1]`],
  ['empty', ''],
])('a file that cannot be used is ignored with a line in the log, and replaced: %s', async (_, text) => {
  const { process, file, lines, failures } = await place();
  await writeFile(file, text);
  const first = process();
  await first.history.start();
  first.serve(1);
  expect(first.listed()).toEqual([['00:00', 1]]);
  expect(lines.map((line) => JSON.parse(line).msg)).toEqual([
    'the statistics by minute cannot be read: they begin anew',
  ]);
  await first.history.stop(forever);
  const second = process();
  await second.history.start();
  expect(second.listed()).toEqual([['00:00', 1]]);
  expect(lines).toHaveLength(1);
  expect(failures).toEqual([]);
});

test('a full disk costs nothing but the minutes since; any other failure is reported', async () => {
  const { process, files, failures, clock } = await place();
  const { history, serve, listed } = process();
  await history.start();
  for (const code of ['ENOSPC', 'EDQUOT', 'EROFS', 'EIO']) {
    files.failWith = ({ operation }) => (operation === 'write' ? code : undefined);
    serve(1);
    clock.advance(60_000);
    await history.stop(forever);
  }
  expect(failures).toMatchObject([{ code: 'EIO' }]);
  files.failWith = () => undefined;
  await history.stop(forever);
  const next = process();
  await next.history.start();
  expect(next.listed()).toEqual(listed());
});

test('a disk that hangs holds one write, and the end of the process no longer than its deadline', async () => {
  const { process, files, clock } = await place();
  const hanging = gate();
  const { history, serve } = process();
  await history.start();
  files.before = async ({ operation }) => (operation === 'write' ? hanging.opened : undefined);
  for (let tick = 0; tick < 10; tick += 1) {
    clock.advance(60_000);
    serve(1);
    history.tick();
  }
  await expect.poll(() => files.calls.filter(({ operation }) => operation === 'write').length).toBe(1);
  const deadline = new AbortController();
  const stopped = history.stop({ signal: deadline.signal });
  deadline.abort();
  await stopped;
  expect(files.calls.filter(({ operation }) => operation === 'write')).toHaveLength(1);
  hanging.open();
});
