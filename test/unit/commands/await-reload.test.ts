import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { awaitReload } from '../../../src/commands/await-reload.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';
import { startEndlessAnswer } from '../../support/endless-answer.ts';

const text = '{ "upstreams": { "docker.io": {} } }';
const sha256 = createHash('sha256').update(text).digest('hex');
const usesIt = { config: { sha256 } };
const usesAnother = { config: { sha256: 'another' } };
const refusedIt = { config: { sha256: 'another', refused: sha256 } };
const needsRestart = { config: { sha256, needRestart: ['storage', 'clients'] } };
const hosts = ['127.0.0.1', '127.0.0.2'];

/**
 * Waits for mirrors that answer one after another with what the list says, and then always with its last.
 * @param looks for each look at the name, the answer of the mirror at each address; undefined: it is not there.
 */
async function awaited(looks: readonly (readonly (object | undefined)[])[], { withinMs = 10_000 } = {}) {
  const file = join(await temporaryDirectory(), 'mirror.config.json');
  await writeFile(file, text);
  const clock = new ManualClock();
  let look = -1;
  const now = () => looks[Math.min(look, looks.length - 1)] ?? [];
  const server = createServer(({ socket }, response) => {
    response.end(JSON.stringify(now()[hosts.indexOf(socket.localAddress ?? '')] ?? {}));
  });
  server.listen(0, '0.0.0.0');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const { port }: Pick<AddressInfo, 'port'> = Object.assign({ port: 0 }, server.address());
  let printed = '';
  const code = await awaitReload({
    file,
    address: `mirrors.test:${port}`,
    withinMs,
    print: (line) => (printed += line.replaceAll(`:${port}`, '')),
    lookup: async () => {
      look += 1;
      const there = hosts.filter((_, index) => now()[index] !== undefined);
      if (there.length === 0) throw Object.assign(new Error('not found'), { code: 'ENOTFOUND' });
      return there;
    },
    clock,
    wait: async (ms) => clock.advance(ms),
  });
  return { code, printed, looks: look + 1 };
}

test('a reload is awaited until every mirror uses the file', async () => {
  const { code, printed, looks } = await awaited([
    [usesAnother, usesAnother],
    [usesIt, usesAnother],
    [usesIt, usesIt],
  ]);
  expect({ code, looks }).toEqual({ code: 0, looks: 3 });
  expect(printed).toBe('127.0.0.1: uses the configuration\n127.0.0.2: uses the configuration\n');
});

test('a mirror that goes meanwhile is not waited for', async () => {
  expect(
    await awaited([
      [usesAnother, usesIt],
      [undefined, usesIt],
    ]),
  ).toMatchObject({ code: 0, looks: 2 });
});

test('a mirror that refuses the file ends the wait at once', async () => {
  const { code, printed, looks } = await awaited([[usesIt, refusedIt]]);
  expect({ code, looks }).toEqual({ code: 1, looks: 1 });
  expect(printed).toContain('127.0.0.2: refused the configuration');
});

test('a mirror whose file does not change in time fails the wait, and is named', async () => {
  const { code, printed, looks } = await awaited([[usesIt, usesAnother]], { withinMs: 5_000 });
  expect({ code, looks }).toEqual({ code: 1, looks: 6 });
  expect(printed).toContain('127.0.0.2: uses another configuration');
});

test('a mirror that only needs a restart is waited for, and its sections are named if nobody restarts it', async () => {
  expect(await awaited([[needsRestart], [usesIt]])).toMatchObject({ code: 0, looks: 2 });
  const { code, printed, looks } = await awaited([[needsRestart]], { withinMs: 5_000 });
  expect({ code, looks }).toEqual({ code: 0, looks: 6 });
  expect(printed).toBe('127.0.0.1: needs a restart for storage, clients\n');
});

test('where no mirror can be reached at all, that is said after a minute, and is no failure of the mirrors', async () => {
  const { code, printed, looks } = await awaited([[]], { withinMs: 300_000 });
  expect({ code, looks }).toEqual({ code: 0, looks: 61 });
  expect(printed).toMatch(/^mirrors\.test: does not answer \(ENOTFOUND\)\nnot confirmed: no mirror can be reached/);
});

test('a mirror of an earlier version, which does not tell its configuration, counts as one with another', async () => {
  expect(await awaited([[{ isStarting: false }]], { withinMs: 0 })).toMatchObject({ code: 1 });
});

test('a listener that answers without an end is no mirror, and ends the command in time', async () => {
  const file = join(await temporaryDirectory(), 'mirror.config.json');
  await writeFile(file, text);
  const { port, sentBytes } = await startEndlessAnswer();
  let printed = '';
  const print = (line: string) => (printed += line);
  await awaitReload({ file, address: `127.0.0.1:${port}`, withinMs: 0, print, answersWithinMs: 1_000 });
  expect(printed).toContain('too long');
  expect(sentBytes()).toBeLessThan(30_000_000);
});

test('a name server that never answers is waited for as long as a mirror', async () => {
  const file = join(await temporaryDirectory(), 'mirror.config.json');
  await writeFile(file, text);
  let printed = '';
  const print = (line: string) => (printed += line);
  const lookup = () => new Promise<never>(() => {});
  await awaitReload({ file, address: 'mirrors.test:1', withinMs: 0, print, lookup, answersWithinMs: 5 });
  expect(printed).toContain('does not answer (its name is not looked up in time)');
});
