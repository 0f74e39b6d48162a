import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { type StartedProcess, startProcess } from '../support/processes.ts';
import { type MirrorConfig } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

/** Starts the program with a configuration that it cannot run with. */
async function endsWith(config: MirrorConfig): Promise<StartedProcess> {
  const file = join(await temporaryDirectory(), 'mirror.config.json');
  await writeFile(file, JSON.stringify(config));
  const started = startProcess(process.execPath, ['src/main.ts', 'serve', '--config', file]);
  await started.exited;
  return started;
}

/** A valid configuration, to which each test adds one mistake. */
async function usable(): Promise<MirrorConfig> {
  return {
    listen: { port: await freePort() },
    management: { port: await freePort() },
    storage: { path: join(await temporaryDirectory(), 'data') },
    upstreams: { 'docker.io': { url: 'http://127.0.0.1:9' } },
  };
}

test('a configuration with mistakes ends the start with exit code 2 and a list of all of them, with their keys', async () => {
  const refused = await endsWith({
    ...(await usable()),
    storage: { maxSize: 'huge', pth: './data' },
    freshness: { tag: '5 minutes' },
    upstreams: { 'docker.io': { url: 'ftp://registry' } },
  });
  expect(await refused.exited).toEqual({ code: 2, signal: null });
  const lines = refused.stderr.trimEnd().split('\n');
  expect(lines[0]).toMatch(/mirror\.config\.json is not usable:$/);
  const keys = lines.slice(1).map((line) => /^ {2}- ([^:]+): ./.exec(line)?.[1] ?? '');
  expect(keys.toSorted()).toEqual(['freshness.tag', 'storage.maxSize', 'storage.pth', 'upstreams["docker.io"].url']);
  expect(refused.stdout).toBe('');
});

async function takenPort(): Promise<number> {
  const port = await freePort();
  const server = createServer().listen(port, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return port;
}

async function belowAFile(): Promise<string> {
  const file = join(await temporaryDirectory(), 'file');
  await writeFile(file, '');
  return join(file, 'data');
}

const impossible: readonly {
  readonly what: string;
  readonly says: RegExp;
  readonly make: () => Promise<MirrorConfig>;
}[] = [
  {
    what: 'whose port is in use',
    says: /^starting registry listener: cannot listen on 127\.0\.0\.1:\d+: the port is in use.*\n$/,
    make: async () => ({ listen: { port: await takenPort() } }),
  },
  {
    what: 'whose management port is in use',
    says: /^starting management listener: cannot listen on 127\.0\.0\.1:\d+: the port is in use.*\n$/,
    make: async () => ({ management: { port: await takenPort() } }),
  },
  {
    what: 'whose storage path cannot be made',
    says: /^starting store lock: the storage path \/\S+\/file\/data cannot be used: ENOTDIR: .*\n$/,
    make: async () => ({ storage: { path: await belowAFile() } }),
  },
  {
    what: 'that may not write to its storage path',
    says: /^starting \w.*: the storage path \/proc\/1 cannot be used: .*\n$/,
    make: async () => ({ storage: { path: '/proc/1' }, index: { path: join(await temporaryDirectory(), 'index') } }),
  },
  {
    what: 'whose index cannot be made',
    says: /^starting index: the index \/\S+\/file\/data\/index\.sqlite cannot be created: ENOTDIR.*\n$/,
    make: async () => ({ index: { path: join(await belowAFile(), 'index.sqlite') } }),
  },
  {
    what: 'whose certificate is missing',
    says: /^the certificate of the listener cannot be read: ENOENT.*\/nowhere\/tls\.crt.*\n$/,
    make: async () => ({ listen: { port: 0, tls: { certFile: '/nowhere/tls.crt', keyFile: '/nowhere/tls.key' } } }),
  },
];

test.each(impossible)('a mirror $what ends with exit code 1 and one line that says so', async ({ says, make }) => {
  const failed = await endsWith({ ...(await usable()), ...(await make()) });
  expect(await failed.exited).toEqual({ code: 1, signal: null });
  expect(failed.stderr).toMatch(says);
  expect(failed.stdout).not.toContain('listening');
});
