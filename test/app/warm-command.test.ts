import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { warm, type WarmOptions } from '../../src/commands/jobs/warm.ts';
import { askApi } from '../support/api-answers.ts';
import { startApiServer } from '../support/fake-api-server.ts';
import { freePort } from '../support/free-port.ts';
import { gate } from '../support/gate.ts';
import { image, multiPlatformImage } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { startProcess } from '../support/processes.ts';
import { startWithJobs, type WithJobs } from '../support/start-jobs.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

const blobs = /\/blobs\//;

async function* standardInput(text: string) {
  yield Buffer.from(text);
}

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

async function run(
  at: { readonly server: string; readonly tokenFile?: string },
  options: Partial<WarmOptions>,
): Promise<Ran> {
  const printed = { out: '', error: '' };
  const code = await warm({
    file: '/nowhere',
    env: {},
    images: [],
    listFile: undefined,
    kubernetes: false,
    platforms: [],
    referrers: false,
    json: false,
    stdin: () => standardInput(''),
    stop: new AbortController().signal,
    columns: undefined,
    pauseMs: 1,
    ...at,
    ...options,
    print: (text) => (printed.out += text),
    printError: (text) => (printed.error += text),
  });
  return { code, ...printed };
}

const at = ({ app, tokenFile }: WithJobs) => ({ server: app.managementUrl, tokenFile });

test('the command warms what it names and what a list names, and says what it did and what it skipped', async () => {
  const mirror = await startWithJobs();
  mirror.hub.content.add('library/nginx', '1', image());
  mirror.hub.content.add('library/redis', '7', multiPlatformImage());
  const listFile = join(await temporaryDirectory(), 'list');
  await writeFile(listFile, '# caches\nredis:7\n\ndocker.io/library/nginx:1\n');
  const ran = await run(at(mirror), { images: ['nginx:1'], listFile, platforms: ['linux/arm64', 'linux/riscv64'] });
  expect(ran.code).toBe(0);
  expect(ran.error).toMatch(/^docker\.io\/library\/nginx:1: done, fetched 2 blobs \(\d+ B\)\n/m);
  expect(ran.out).toMatch(/^done +2 of 2 images\nfetched +3 manifests, 4 blobs, .+\nstored before +0 manifests/);
  expect(ran.out).toMatch(/^docker\.io\/library\/redis:7 +linux\/riscv64 +no-platform/m);
  mirror.hub.forgetRequests();
  await pullAll(mirror.app, 'library/nginx', '1');
  expect(mirror.hub.count('GET')).toBe(0);
});

test('an image that could not be fetched gives exit code 1, and the others are fetched; --json tells all', async () => {
  const mirror = await startWithJobs();
  mirror.hub.content.add('library/nginx', '1', image());
  const ran = await run(at(mirror), { listFile: '-', stdin: () => standardInput('nginx:1\nnginx:2\n'), json: true });
  expect(ran).toMatchObject({ code: 1, error: '' });
  expect(JSON.parse(ran.out)).toMatchObject({
    images: [{ image: 'docker.io/library/nginx:1', state: 'done' }, { state: 'failed' }],
    problems: [{ image: 'docker.io/library/nginx:2', reason: 'not-found' }],
    problemCount: 1,
    notOfTheMirror: [],
  });
});

test('a list of more images than a job takes becomes several jobs', async () => {
  const mirror = await startWithJobs();
  const images = Array.from({ length: 251 }, (_, nth) => `quay.test/app:${nth}`);
  const ran = await run(at(mirror), { images });
  expect(ran.code).toBe(1);
  expect(ran.out).toMatch(/^done +0 of 251 images\nfailed +251 images/);
  expect(ran.out).toContain('and 50 more');
  const { items } = Object((await askApi(mirror.app, '/api/v1/jobs')).body);
  expect(items.map(({ total }: { total: number }) => total)).toEqual([1, 250]);
});

test('the images of the pods of a cluster are warmed, by the names that the upstreams have; others are skipped', async () => {
  const mirror = await startWithJobs();
  mirror.hub.content.add('library/nginx', '1', image());
  const images = ['nginx:1', 'mirror.internal:5000/docker.io/library/nginx:1', 'quay.test/acme/app:1'];
  const items = images.map((one) => ({ spec: { containers: [{ image: one }] } }));
  const { server: apiServer } = await startApiServer([{ items, metadata: {} }, 403]);
  const ran = await run(at(mirror), { kubernetes: true, apiServer });
  expect(ran).toMatchObject({ code: 0, out: expect.stringMatching(/^done +1 of 1 image\n/) });
  expect(ran.error).toContain('quay.test/acme/app:1: skipped, no upstream of the mirror has it\n');
  const refused = await run(at(mirror), { kubernetes: true, apiServer });
  expect(refused).toMatchObject({ code: 1, error: expect.stringContaining('the service account may not list pods') });
});

test('what the command cannot do has an exit code and words', async () => {
  const mirror = await startWithJobs();
  const asked = at(mirror);
  const failing: readonly (readonly [Partial<WarmOptions>, number, string])[] = [
    [{}, 1, 'no image is named'],
    [{ images: ['No', 'nginx'] }, 1, 'No: "No" is no name'],
    [{ listFile: '/nowhere/list' }, 1, '--file: ENOENT'],
    [{ listFile: '-', stdin: () => standardInput('x'.repeat(5_000_000)) }, 1, 'larger than 4 MiB'],
    [{ images: ['nginx'], platforms: ['linux'] }, 1, 'expected a platform'],
    [{ kubernetes: true }, 1, 'run this in the cluster'],
    [{ images: ['nginx'], tokenFile: undefined }, 4, 'token'],
    [{ images: ['nginx'], server: `http://127.0.0.1:${await freePort()}` }, 3, 'no mirror answers'],
  ];
  for (const [options, code, words] of failing)
    expect(await run(asked, options)).toMatchObject({ code, out: '', error: expect.stringContaining(words) });
});

test('the signal to stop cancels the job, and the command run again goes on', async () => {
  const mirror = await startWithJobs();
  mirror.hub.content.add('library/nginx', '1', image({ layers: 2 }));
  const arriving = gate();
  mirror.hub.script({ path: blobs, times: 3 }, { holdHeaders: arriving });
  const stop = new AbortController();
  const ran = run(at(mirror), { images: ['nginx:1'], stop: stop.signal });
  await mirror.hub.arrived('GET', blobs, 3);
  stop.abort();
  const { code, out } = await ran;
  expect(code).toBe(130);
  expect(out).toMatch(/^cancelled +1 image; run this again to go on$/m);
  const { items } = Object((await askApi(mirror.app, '/api/v1/jobs')).body);
  expect(items).toMatchObject([{ state: 'cancelled' }]);
  arriving.open();
  expect(await run(at(mirror), { images: ['nginx:1'] })).toMatchObject({ code: 0 });
});

test('a mirror that is restarted meanwhile, or goes away, is told', async () => {
  const mirror = await startWithJobs();
  mirror.hub.content.add('library/nginx', '1', image());
  mirror.hub.script({ path: blobs }, { holdHeaders: gate() });
  const port = await freePort();
  await mirror.app.restart({
    ...mirror.app.config,
    management: { host: '127.0.0.1', port, tokenFile: mirror.tokenFile },
  });
  const pauseMs = 100; // It asks for a second: a restart is shorter.
  const ran = run(at(mirror), { images: ['nginx:1'], pauseMs });
  await mirror.hub.arrived('GET', blobs);
  await mirror.app.restart();
  expect(await ran).toMatchObject({ code: 1, error: expect.stringMatching(/restarted|is stopping/) });
  const again = run(at(mirror), { images: ['nginx:1'] });
  await mirror.hub.arrived('GET', blobs, 3);
  await mirror.app.stop(0);
  expect(await again).toMatchObject({ code: 3, error: expect.stringContaining('no mirror answers') });
});

test('Ctrl-C ends the program with 130, and its job with it', async () => {
  const mirror = await startWithJobs();
  mirror.hub.content.add('library/nginx', '1', image());
  mirror.hub.script({ path: blobs }, { holdHeaders: gate() });
  const { server, tokenFile } = at(mirror);
  const args = ['src/main.ts', 'warm', 'nginx:1', '--server', server, '--token-file', tokenFile];
  const started = startProcess(process.execPath, args);
  await mirror.hub.arrived('GET', blobs);
  process.kill(started.pid, 'SIGINT');
  expect(await started.exited).toMatchObject({ code: 130 });
  const { items } = Object((await askApi(mirror.app, '/api/v1/jobs')).body);
  expect(items).toMatchObject([{ state: 'cancelled' }]);
  expect(started.output).not.toContain('\u001b');
});
