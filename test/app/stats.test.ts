import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { stats, statsText } from '../../src/commands/stats.ts';
import { ConfigError } from '../../src/config/loading/problems.ts';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { freePort } from '../support/free-port.ts';
import { image } from '../support/images.ts';
import { thisTest } from '../support/owner.ts';
import { StartedProcess } from '../support/processes.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

const token = 'a'.repeat(40);

async function fileWith(text: string): Promise<string> {
  const file = join(await temporaryDirectory(), 'file');
  await writeFile(file, text);
  return file;
}

async function statsOf(asked: {
  readonly server?: string;
  readonly tokenFile?: string;
  readonly config?: object;
  readonly json?: boolean;
}) {
  const { config = {}, json = false, ...choice } = asked;
  const printed = { out: '', error: '' };
  const code = await stats({
    file: await fileWith(JSON.stringify(config)),
    env: {},
    ...choice,
    json,
    print: (text) => (printed.out += text),
    printError: (text) => (printed.error += text),
  });
  return { code, ...printed };
}

async function mirror(management: object = {}): Promise<RunningApp> {
  const hub = await startFakeRegistry();
  hub.content.add('library/app', '1', image());
  hub.content.manifestHeaders = { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '76;w=21600' };
  const app = await startApp({
    upstreams: { 'docker.io': { url: hub.url } },
    management: { host: '127.0.0.1', port: 0, ...management },
  });
  for (let pull = 0; pull < 4; pull += 1) await ask(app, '/v2/library/app/manifests/1');
  return app;
}

test('a table says the hit ratio, the bytes that were saved, the disk, and the rate limit of each upstream', async () => {
  const app = await mirror();
  const { port } = new URL(app.managementUrl);
  const { code, out, error } = await statsOf({ config: { management: { port: Number(port) } } });
  expect({ code, error }).toEqual({ code: 0, error: '' });
  expect(out).toMatch(/^hit ratio +75\.0 %$/m);
  expect(out).toMatch(/^hit +3 +75\.0 % +\S+ KiB$/m);
  expect(out).toMatch(/^hit ratio of bytes +75\.0 %$/m);
  expect(out).toMatch(/^requests saved +\d+$/m);
  expect(out).toMatch(/^requests +·{47}█ +4$/m);
  expect(out).toMatch(/^hit ratio +·{47}▆ +75\.0 %$/m);
  expect(out).toMatch(/^docker\.io\/library\/app +4 +100 % +\S+ KiB +100 %$/m);
  expect(out).toMatch(/^saved +\S+ KiB \(75\.0 %\)$/m);
  expect(out).toMatch(/^disk +\S+ [KM]iB of 50\.0 GiB \(< 0\.1 %\)$/m);
  expect(out).toMatch(/^docker\.io +reachable +\d+ +\S+ B +anonymous: 76 of 100 +-$/m);
});

test('--json prints what the API answers', async () => {
  const app = await mirror();
  const { out } = await statsOf({ server: app.managementUrl, json: true });
  expect(JSON.parse(out)).toMatchObject({ stats: { requests: { total: 4 } }, upstreams: [{ name: 'docker.io' }] });
});

test('a mirror that is down is told in one line, with an exit code of its own', async () => {
  const port = await freePort();
  const down = await statsOf({ server: `http://127.0.0.1:${port}` });
  expect(down).toEqual({
    code: 3,
    out: '',
    error: expect.stringMatching(/^no mirror answers at http:\S+: .*ECONNREFUSED.*\n$/),
  });
});

test('a token that is missing or wrong is told in words, with an exit code of its own', async () => {
  const tokenFile = await fileWith(token);
  const app = await mirror({ host: '0.0.0.0', tokenFile });
  const server = `http://127.0.0.1:${new URL(app.managementUrl).port}`;
  expect(await statsOf({ server })).toMatchObject({ code: 4, out: '', error: expect.stringContaining('token') });
  const wrong = await statsOf({ server, tokenFile: await fileWith('b'.repeat(40)) });
  expect(wrong).toMatchObject({ code: 4, error: expect.stringContaining('not the token') });
  expect((await statsOf({ server, tokenFile })).code).toBe(0);
  const management = { host: '127.0.0.1', port: Number(new URL(server).port), tokenFile };
  expect((await statsOf({ config: { management } })).code).toBe(0);
});

test.each(['not a URL', 'ftp://127.0.0.1'])('a server that is none is refused: %s', async (server) => {
  expect(await statsOf({ server })).toMatchObject({ code: 1, error: expect.stringContaining('expected a URL') });
});

test('a file with a token that cannot be used is told', async () => {
  const app = await mirror();
  const unusable = await statsOf({ server: app.managementUrl, tokenFile: '/nowhere' });
  expect(unusable).toMatchObject({ code: 1, error: '--token-file: /nowhere cannot be read: ENOENT\n' });
});

test('a configuration that does not say where the mirror is is refused', async () => {
  await expect(statsOf({ config: { management: { port: 'x' } } })).rejects.toThrow(ConfigError);
});

test('something else that answers there is no mirror, and what it sends reaches no terminal unescaped', async () => {
  const answers = ['<html>', JSON.stringify({ detail: 'red \u001b[31m' }), '{}'];
  const server = createServer((_, response) => response.writeHead(answers.length > 1 ? 500 : 200).end(answers[0]));
  thisTest(async () => void server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a TCP server has one
  const { port } = server.address() as AddressInfo;
  const at = { server: `http://127.0.0.1:${port}` };
  expect(await statsOf(at)).toMatchObject({ code: 1, error: expect.stringContaining('not the management API') });
  answers.shift();
  expect(await statsOf(at)).toMatchObject({ code: 1, error: 'red \uFFFD[31m\n' });
  answers.shift();
  expect(await statsOf(at)).toMatchObject({ code: 1, error: expect.stringContaining('another version') });
});

test('the program has the command, and its exit code', async () => {
  const app = await mirror();
  const asked = new StartedProcess(process.execPath, ['src/main.ts', 'stats', '--server', app.managementUrl]);
  expect(await asked.exited).toMatchObject({ code: 0 });
  expect(asked.stdout).toContain('hit ratio');
});

test('what is not known is said to be unknown, and an empty mirror has no ratio', () => {
  const storage = {
    usedBytes: null,
    maxBytes: 1,
    files: null,
    maxFiles: 1,
    freeBytes: null,
    diskBytes: null,
    contentBytes: null,
    blobs: null,
    manifests: null,
    quarantinedFiles: 2,
    oldestUseAt: null,
    isIndexComplete: false,
  };
  const text = statsText({
    served: {
      startedAt: '2026-01-01T00:00:00.000Z',
      requests: { total: 0, hitRatio: null, byCache: {} },
      bytes: { served: 0, fromUpstream: 0, saved: 0 },
      upstreamRequests: 0,
      top: { repositories: [], other: { requests: 0, bytes: 0 } },
      storage,
    },
    minutes: { items: [] },
    upstreams: { items: [] },
  });
  expect(text).not.toContain('REPOSITORY');
  expect(text).toMatch(/^requests +·{48} +0$/m);
  expect(text).toMatch(/^hit ratio +-$/m);
  expect(text).toMatch(/^disk +unknown of 1 B \(-\)$/m);
  expect(text).toMatch(/^quarantine +2 damaged files$/m);
  expect(text).toMatch(/^index +is being rebuilt/m);
});
