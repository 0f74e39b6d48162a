import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { health } from '../../src/commands/health.ts';
import { ConfigError } from '../../src/config/loading/problems.ts';
import { freePort } from '../support/free-port.ts';
import { thisTest } from '../support/owner.ts';
import { StartedProcess } from '../support/processes.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

async function fileWith(config: unknown): Promise<string> {
  const file = join(await temporaryDirectory(), 'mirror.config.json');
  await writeFile(file, JSON.stringify(config));
  return file;
}

/** A management listener with this status. @returns its port. */
async function managementThatAnswers(
  status: number,
  host: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<number> {
  const server = createServer((request, response) => {
    if (request.url === '/healthz') response.writeHead(status, headers).end();
    else response.writeHead(200).end();
  });
  thisTest(async () => void server.close());
  await once(server.listen(0, host), 'listening');
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a TCP server has one
  return (server.address() as AddressInfo).port;
}

async function healthOf(config: unknown, env: Readonly<Record<string, string>> = {}, { json = false } = {}) {
  let text = '';
  const print = (more: string) => {
    text += more;
  };
  return { code: await health({ file: await fileWith(config), env, json, print }), text };
}

test('a listener that redirects is not the mirror', async () => {
  const port = await managementThatAnswers(302, '127.0.0.1', { location: '/elsewhere' });
  expect(await healthOf({ management: { host: '127.0.0.1', port } })).toMatchObject({ code: 1 });
});

test.each([
  { host: '127.0.0.1', listens: '127.0.0.1' },
  { host: '0.0.0.0', listens: '0.0.0.0' },
  { host: '::', listens: '::' },
])('a mirror whose management listener is at $host is asked at its configured port', async ({ host, listens }) => {
  const port = await managementThatAnswers(200, listens);
  expect(await healthOf({ management: { host, port } })).toEqual({
    code: 0,
    text: `http://127.0.0.1:${port}/healthz: 200\n`,
  });
});

test('problems in another part of the file do not make the running mirror unhealthy', async () => {
  const port = await managementThatAnswers(200, '127.0.0.1');
  const { code } = await healthOf({ management: { host: '${env:HOST}', port }, upstreams: 5 }, { HOST: '127.0.0.1' });
  expect(code).toBe(0);
});

test('a mirror that answers an error is unhealthy, one that does not answer is not there, and the reason is printed', async () => {
  const [failing, nobody] = [await managementThatAnswers(500, '127.0.0.1'), await freePort()];
  expect(await healthOf({ management: { port: failing } })).toMatchObject({ code: 1 });
  const { code, text } = await healthOf({ management: { port: nobody } });
  expect(code).toBe(3);
  expect(text).toContain(`127.0.0.1:${nobody}`);
  expect(text).toContain('ECONNREFUSED');
});

test('--json says it for programs', async () => {
  const [alive, failing, nobody] = [
    await managementThatAnswers(200, '127.0.0.1'),
    await managementThatAnswers(500, '127.0.0.1'),
    await freePort(),
  ];
  const said = async (port: number) => JSON.parse((await healthOf({ management: { port } }, {}, { json: true })).text);
  expect(await said(alive)).toEqual({ url: `http://127.0.0.1:${alive}/healthz`, isAlive: true, status: 200 });
  expect(await said(failing)).toMatchObject({ isAlive: false, status: 500 });
  expect(await said(nobody)).toMatchObject({ isAlive: false, error: expect.stringContaining('ECONNREFUSED') });
});

test('a wrong management section is a problem of the configuration', async () => {
  await expect(healthOf({ management: { port: 'many' } })).rejects.toThrow(ConfigError);
});

test('commands use the file that LAYERWELL_CONFIG names, unless --config names another', async () => {
  const [valid, wrong] = [await fileWith({ upstreams: { 'a.example': {} } }), await fileWith({ upstreams: 5 })];
  const check = (args: readonly string[]) =>
    new StartedProcess(process.execPath, ['src/main.ts', 'check', ...args], { env: { LAYERWELL_CONFIG: valid } });
  const [found, overridden] = [check([]), check(['--config', wrong])];
  expect(await found.exited).toMatchObject({ code: 0 });
  expect(found.stdout).toBe(`${valid}: ok\n`);
  expect(await overridden.exited).toMatchObject({ code: 2 });
});
