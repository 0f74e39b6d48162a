import { appendFile, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { EventLog } from '../../../src/events/queue/event-log.ts';
import type { LoggedEvent, Position } from '../../../src/events/queue/log-lines.ts';
import { ScriptedFiles } from '../../support/scripted-files.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';

const mib = 1024 * 1024;
const event = (id: string, filling = 0) =>
  JSON.stringify({ id, type: 't', time: '2030-01-01T00:00:00.000Z', data: 'x'.repeat(filling) });

async function openLog({ folder, maxBytes = mib }: { folder?: string; maxBytes?: number } = {}) {
  const files = new ScriptedFiles();
  const dropped: LoggedEvent[] = [];
  const damaged: { readonly segment: number; readonly lines: number }[] = [];
  const path = folder ?? join(await temporaryDirectory(), 'events');
  const log = new EventLog({
    folder: path,
    maxBytes,
    files,
    hold: async () => {},
    onDropped: (events) => dropped.push(...events),
    onDamaged: (damage) => damaged.push(damage),
  });
  await log.open();
  return { log, files, dropped, damaged, folder: path };
}

/** All events from a position on. */
async function readAll(log: EventLog, from: Position = log.first): Promise<readonly string[]> {
  const ids: string[] = [];
  for (let position = from; ; ) {
    const { events, next } = await log.read(position);
    ids.push(...events.map(({ id }) => id));
    if (next.segment === position.segment && next.offset === position.offset) return ids;
    position = next;
  }
}

async function bytesIn(folder: string): Promise<number> {
  const sizes = await Promise.all((await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

test('events are read as they were written, also by the next process, and from any position', async () => {
  const { log, folder } = await openLog();
  expect(await readAll(log)).toEqual([]);
  await log.append([event('1'), event('2')]);
  await log.append([event('3')]);
  const { events } = await log.read(log.first);
  expect(await readAll(log, events[0]?.end)).toEqual(['2', '3']);
  await log.close();

  const again = await openLog({ folder });
  await again.log.append([event('4')]);
  expect(await readAll(again.log)).toEqual(['1', '2', '3', '4']);
  expect(again.damaged).toEqual([]);
  await again.log.close();
});

test('the log is bounded: the oldest events go, and are told of', async () => {
  const { log, folder, dropped } = await openLog();
  for (let number = 0; number < 3_000; number += 1) await log.append([event(String(number), 1_000)]);
  expect(log.bytes).toBeLessThanOrEqual(mib);
  expect(await bytesIn(folder)).toBe(log.bytes);
  const left = await readAll(log);
  expect([...dropped.map(({ id }) => id), ...left]).toEqual(
    Array.from({ length: 3_000 }, (_, number) => String(number)),
  );
  expect(left.length).toBeGreaterThan(800);
  await log.close();
});

test('what every webhook has is removed, but for the file that is written to', async () => {
  const { log, folder } = await openLog();
  for (let number = 0; number < 500; number += 1) await log.append([event(String(number), 1_000)]);
  expect((await readdir(folder)).length).toBeGreaterThan(2);
  await log.release(log.end);
  expect(await readdir(folder)).toHaveLength(1);
  expect(log.bytes).toBe(await bytesIn(folder));
  await log.close();
});

test('a line that was cut or changed is skipped and told of; the others are read', async () => {
  const { log, folder } = await openLog();
  await log.append([event('1'), event('2'), event('3')]);
  await log.close();
  const [name = ''] = await readdir(folder);
  const file = join(folder, name);
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace('"id":"2"', '"id":"7"'));
  await appendFile(file, text.slice(0, 40)); // As a crash leaves it.

  const again = await openLog({ folder });
  await again.log.append([event('4')]);
  expect(await readAll(again.log)).toEqual(['1', '3', '4']);
  expect(again.damaged.reduce((sum, { lines }) => sum + lines, 0)).toBe(2);
  await again.log.close();
});

test.each([
  { what: 'zeros', bytes: Buffer.alloc(600_000) },
  { what: 'line breaks', bytes: Buffer.alloc(5_000, '\n') },
  { what: 'nothing', bytes: Buffer.alloc(0) },
])('a file that is $what is skipped', async ({ bytes }) => {
  const { log, folder } = await openLog();
  await log.append([event('1')]);
  await log.close();
  const [name = ''] = await readdir(folder);
  await writeFile(join(folder, name), bytes);
  await writeFile(join(folder, 'somebody-else.txt'), 'hello');
  const again = await openLog({ folder });
  await again.log.append([event('2')]);
  expect(await readAll(again.log)).toEqual(['2']);
  expect(again.damaged.length > 0).toBe(bytes.byteLength > 0);
  await again.log.close();
});

test('a file that cannot be read is skipped and told of', async () => {
  const { log, folder } = await openLog();
  await log.append([event('1')]);
  await log.close();
  const again = await openLog({ folder });
  again.files.failWith = ({ operation, path }) =>
    operation === 'read' && path.endsWith('000001.log') ? 'EIO' : undefined;
  await again.log.append([event('2')]);
  expect(await readAll(again.log)).toEqual(['2']);
  expect(again.damaged).toHaveLength(1);
  await again.log.close();
});

test('what the disk refuses is not in the log, leaves no files, and does not hide what comes later', async () => {
  const { log, files, folder } = await openLog();
  await log.append([event('1')]);
  files.maxWriteBytes = 10; // A part is written before the disk is full.
  let writes = 0;
  files.failWith = ({ operation }) => (operation === 'write' && (writes += 1) % 3 === 0 ? 'ENOSPC' : undefined);
  for (let again = 0; again < 20; again += 1) await expect(log.append([event('lost')])).rejects.toThrow('ENOSPC');
  expect((await readdir(folder)).length).toBeLessThanOrEqual(2);
  files.failWith = () => undefined;
  files.maxWriteBytes = Infinity;
  await log.append([event('2')]);
  expect(await readAll(log)).toEqual(['1', '2']);
  await log.close();
  const next = await openLog({ folder });
  expect(await readAll(next.log)).toEqual(['1', '2']);
});

test('a process that is restarted again and again does not fill the store with files', async () => {
  const { log, folder } = await openLog();
  await log.append([event('1')]);
  await log.close();
  const line = await readFile(join(folder, '000000000001.log'));
  const names = Array.from({ length: 1_100 }, (_, place) => `${String(place + 2).padStart(12, '0')}.log`);
  await Promise.all(names.map((name) => writeFile(join(folder, name), line)));
  const again = await openLog({ folder });
  await again.log.append([event('2')]);
  expect((await readdir(folder)).length).toBeLessThanOrEqual(1_001);
  expect(again.dropped.length).toBeGreaterThan(90);
  await again.log.close();
});

test('a file that is dropped while it is read is no damage', async () => {
  const { log, files, damaged } = await openLog();
  for (let number = 0; number < 900; number += 1) await log.append([event(String(number), 1_000)]);
  const { first } = log;
  let reads = 0;
  files.before = async ({ operation, path }) => {
    if (operation !== 'open' || !path.endsWith(`${first.segment}.log`) || (reads += 1) > 1) return;
    for (let number = 0; number < 300; number += 1) await log.append([event('more', 1_000)]);
  };
  expect(await log.read(first)).toEqual({ events: [], next: log.first });
  expect(damaged).toEqual([]);
  await log.close();
});
