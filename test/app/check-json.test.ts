import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { check } from '../../src/commands/check.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

async function checkedInJson(config: object, { isOnline = false } = {}) {
  const file = join(await temporaryDirectory(), 'mirror.config.json');
  await writeFile(file, JSON.stringify(config));
  let text = '';
  const print = (more: string) => void (text += more);
  const code = await check({ file, env: {}, version: 'test', isOnline, json: true, print });
  const answer: unknown = JSON.parse(text);
  return { code, answer };
}

test('check --json says that a configuration is usable, with its warnings', async () => {
  expect(await checkedInJson({ upstreams: { 'a.example': {}, '**': {} } })).toMatchObject({
    code: 0,
    answer: { isUsable: true, warnings: [expect.stringContaining('matches every host')] },
  });
});

test('check --json lists every problem of a configuration that is not', async () => {
  const { code, answer } = await checkedInJson({ upstreams: 5, listen: { port: 'many' } });
  const problems = [expect.stringContaining('listen.port'), expect.stringContaining('upstreams')];
  expect({ code, answer }).toMatchObject({ code: 2, answer: { isUsable: false, problems } });
});

test('check --online --json says of each upstream whether it was reached, and why not', async () => {
  const [up, gone] = [await startFakeRegistry(), await startFakeRegistry()];
  await gone.stop();
  const upstreams = { 'up.example': { url: up.url }, 'gone.example': { url: gone.url } };
  expect(await checkedInJson({ upstreams }, { isOnline: true })).toMatchObject({
    code: 1,
    answer: {
      isUsable: false,
      upstreams: [
        { upstream: 'up.example', reached: 'yes' },
        { upstream: 'gone.example', reached: 'no', failure: expect.stringContaining('ECONNREFUSED') },
      ],
      redis: [],
    },
  });
});
