import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { verify, type VerifyOptions } from '../../src/commands/jobs/verify.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { blobPath } from '../../src/storage/layout.ts';
import { askApi } from '../support/api-answers.ts';
import { imageOver, layer } from '../support/bounded-store.ts';
import { freePort } from '../support/free-port.ts';
import { pullAll } from '../support/pull.ts';
import { startProcess } from '../support/processes.ts';
import { idOf, startWithJobs, type WithJobs } from '../support/start-jobs.ts';

const one = layer('one', 100_000);
const nginx = 'library/nginx';
const name = 'docker.io/library/nginx';

async function pulled(): Promise<WithJobs> {
  const mirror = await startWithJobs();
  mirror.hub.content.add(nginx, '1', imageOver('1', one));
  await pullAll(mirror.app, nginx, '1');
  await mirror.app.quiet();
  return mirror;
}

async function damage({ app }: WithJobs, digest: Digest): Promise<void> {
  await using file = await open(join(app.dataDirectory, blobPath(digest)), 'r+');
  await file.write(Buffer.from('X'), 0, 1, 5);
}

async function run({ app, tokenFile }: WithJobs, options: Partial<VerifyOptions> = {}) {
  const printed = { out: '', error: '' };
  const code = await verify({
    file: '/nowhere',
    env: {},
    server: app.managementUrl,
    tokenFile,
    name: undefined,
    refetch: false,
    bytesPerSecond: undefined,
    json: false,
    stop: new AbortController().signal,
    columns: undefined,
    pauseMs: 1,
    ...options,
    print: (text) => (printed.out += text),
    printError: (text) => (printed.error += text),
  });
  return { code, ...printed };
}

test('the command says what it found; its exit code is 1 until nothing is damaged any more', async () => {
  const mirror = await pulled();
  const intact = await run(mirror);
  expect(intact).toMatchObject({ code: 0, error: '' });
  expect(intact.out).toMatch(/^verified +3 \(.+\)\ndamaged +0\nmissing +0\nrefetched +0\n$/);
  await damage(mirror, one.digest);
  const found = await run(mirror, { name: `${name}:1` });
  expect(found.code).toBe(1);
  expect(found.out).toContain('damaged    1, in quarantine');
  expect(found.out).toMatch(new RegExp(`^${one.digest} +damaged`, 'm'));
  const refetched = await run(mirror, { name, refetch: true, json: true });
  expect(refetched.code).toBe(0);
  expect(JSON.parse(refetched.out)).toMatchObject({ verified: { missing: 1, refetched: 1 } });
  expect(await run(mirror)).toMatchObject({ code: 0 });
});

test('on a terminal there is a bar, which is gone at the end', async () => {
  const { error } = await run(await pulled(), { columns: () => 80 });
  expect(error).toContain('3 verified');
  expect(error.endsWith('\r\u001b[K')).toBe(true);
});

test('what the command cannot do has an exit code and words', async () => {
  const mirror = await pulled();
  const failing: readonly (readonly [Partial<VerifyOptions>, number, string])[] = [
    [{ name: 'nginx' }, 1, 'full name'],
    [{ name: `${name}:2` }, 1, `${name}:2 is not cached`],
    [{ tokenFile: undefined }, 4, 'token'],
    [{ server: `http://127.0.0.1:${await freePort()}` }, 3, 'no mirror answers'],
  ];
  for (const [options, code, words] of failing)
    expect(await run(mirror, options)).toMatchObject({ code, out: '', error: expect.stringContaining(words) });
  const id = idOf(await mirror.begin('verify', { bytesPerSecond: 1 }));
  expect(await run(mirror)).toMatchObject({ code: 1, error: expect.stringContaining(`job ${id} verifies already`) });
  await mirror.cancel(id);
});

test('Ctrl-C ends the program with 130, and its job with it', async () => {
  const mirror = await pulled();
  const at = ['--server', mirror.app.managementUrl, '--token-file', mirror.tokenFile];
  const started = startProcess(process.execPath, ['src/main.ts', 'verify', '--rate', '1B', ...at]);
  const jobs = async () => Object((await askApi(mirror.app, '/api/v1/jobs')).body).items;
  await expect.poll(jobs, { timeout: 20_000 }).toMatchObject([{ state: 'running' }]);
  process.kill(started.pid, 'SIGINT');
  expect(await started.exited).toMatchObject({ code: 130 });
  expect(await jobs()).toMatchObject([{ kind: 'verify', state: 'cancelled' }]);
  expect(started.stdout).toMatch(/^cancelled +not all was verified\n/);
});
