import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { withInstallationLock } from '../../src/clients/installation-lock.ts';
import { installClient, printClient, uninstallClient } from '../../src/commands/client/client.ts';
import type { ReachedMirrorChoice } from '../../src/commands/client/reached-mirror.ts';
import { ConfigError } from '../../src/config/loading/problems.ts';
import { freePort } from '../support/free-port.ts';
import { gate } from '../support/gate.ts';
import { StartedProcess } from '../support/processes.ts';
import { startApp } from '../support/start-app.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

type Choice = Omit<ReachedMirrorChoice, 'file' | 'env'> & { readonly config?: object; readonly json?: boolean };

/** The options of a command, and what it prints. */
async function asked({ config, ...choice }: Choice) {
  const file = join(await temporaryDirectory(), 'mirror.config.json');
  if (config !== undefined) await writeFile(file, JSON.stringify(config));
  const printed = { out: '', error: '' };
  const print = (text: string) => void (printed.out += text);
  const printError = (text: string) => void (printed.error += text);
  return { printed, options: { json: false, ...choice, file, env: {}, print, printError } };
}

async function printed(client: Parameters<typeof printClient>[0]['client'], choice: Choice) {
  const { printed: text, options } = await asked(choice);
  return { code: await printClient({ ...options, client }), ...text };
}

const config = {
  listen: { host: '::', port: 5000 },
  upstreams: {
    'docker.io': {},
    'registry.example.com:8443': { url: 'http://10.0.0.9:5000', aliases: ['registry'] },
    'prefixed.example': { url: 'http://10.0.0.9:5000', repositoryPrefix: 'team' },
    '*.pkg.dev': {},
  },
};

test('the configuration says where the mirror is, what its upstreams are called, and where they are themselves', async () => {
  const { code, out, error } = await printed('containerd', { config, json: true });
  expect({ code, error }).toEqual({ code: 0, error: '' });
  const { files }: { files: readonly { path: string; text: string }[] } = JSON.parse(out);
  const servers = files.map(({ path, text }) => [path.split('/').at(-2), /^server = "(.*)"/.exec(text)?.[1]]);
  expect(servers).toEqual([
    ['docker.io', 'https://registry-1.docker.io'],
    ['registry.example.com_8443_', 'http://10.0.0.9:5000'],
    ['registry', 'http://10.0.0.9:5000'],
    ['prefixed.example', 'https://prefixed.example'],
    ['_default', undefined],
  ]);
  expect(files.every(({ text }) => text.includes('[host."http://127.0.0.1:5000"]'))).toBe(true);
});

test('a running mirror says what its upstreams are; patterns are told', async () => {
  const app = await startApp({
    upstreams: { 'quay.io': {}, '*.pkg.dev': {} },
    management: { host: '127.0.0.1', port: 0 },
  });
  const url = 'https://mirror.example.com';
  const { code, out, error } = await printed('podman', { server: app.managementUrl, url });
  expect(code).toBe(0);
  expect(out).toContain('location = "mirror.example.com/quay.io"\ninsecure = false\n');
  expect(error).toContain('name the registries of *.pkg.dev with --registry');
});

test('with a URL and registries no configuration is needed', async () => {
  const { code, out } = await printed('kaniko', { url: 'http://mirror:5000', registry: ['docker.io', 'ghcr.io:443'] });
  expect({ code, out }).toEqual({
    code: 0,
    out: '--registry-map=index.docker.io=mirror:5000/docker.io\n--registry-map=ghcr.io:443=mirror:5000/ghcr.io_443\n--insecure-registry=mirror:5000\n',
  });
});

test('without a configuration, with a wrong one, and with no mirror there, the exit codes say so', async () => {
  await expect(printed('podman', {})).rejects.toThrow(ConfigError);
  await expect(printed('podman', { config: { upstreams: 5 } })).rejects.toThrow(ConfigError);
  const server = `http://127.0.0.1:${await freePort()}`;
  expect(await printed('podman', { server, url: 'http://mirror:5000' })).toMatchObject({ code: 3 });
  expect(await printed('podman', { server })).toMatchObject({ code: 1, error: expect.stringContaining('needs --url') });
});

test.each(['mirror:5000', 'http://mirror:5000/path', 'ftp://mirror', 'http://user@mirror'])(
  '%s is no address of a mirror',
  async (url) => {
    expect(await printed('podman', { config, url })).toMatchObject({ code: 1, out: '' });
  },
);

test('dockerd is not pointed at a mirror that would give it images of another registry', async () => {
  const other = { 'docker.io': {}, 'quay.io': {} };
  const asQuay = await printed('docker', { config: { upstreams: other, defaultUpstream: 'quay.io' } });
  expect(asQuay).toMatchObject({ code: 1, error: expect.stringContaining('would take it for quay.io') });
  const without = await printed('docker', { config: { upstreams: { 'quay.io': {} } } });
  expect(without).toMatchObject({ code: 1, error: expect.stringContaining('docker.io is no upstream') });
});

test('--write says what was written, what is to be done then, and that containerd does not read the folder', async () => {
  const root = await temporaryDirectory();
  const { printed: text, options } = await asked({ config });
  expect(await installClient({ ...options, client: 'containerd', root, replace: false })).toBe(0);
  expect(text.out).toContain('wrote /etc/containerd/certs.d/docker.io/hosts.toml\n');
  expect(text.error).toContain('config.toml has no config_path');
  await mkdir(join(root, 'etc/containerd'), { recursive: true });
  await writeFile(
    join(root, 'etc/containerd/config.toml'),
    'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n',
  );
  text.error = '';
  expect(await installClient({ ...options, client: 'containerd', root, replace: false })).toBe(0);
  expect(text.error).not.toContain('config_path');
  const { options: withoutAnything } = await asked({});
  expect(await uninstallClient({ ...withoutAnything, client: 'containerd', root, force: false })).toBe(0);
});

test('--write names the certificates that are there for the registry itself', async () => {
  const root = await temporaryDirectory();
  const folder = join(root, 'etc/containerd/certs.d/docker.io');
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'ca.crt'), 'theirs');
  await writeFile(join(folder, 'both.cert'), 'theirs');
  const { options } = await asked({ config });
  expect(await installClient({ ...options, client: 'containerd', root, replace: false })).toBe(0);
  expect(await readFile(join(folder, 'hosts.toml'), 'utf8')).toContain(
    'ca = ["ca.crt"]\nclient = [["both.cert", "both.cert"]]\n\n[host.',
  );
});

test('a file that is in the way is told, with exit code 1', async () => {
  const root = await temporaryDirectory();
  await mkdir(join(root, 'etc/docker'), { recursive: true });
  await writeFile(join(root, 'etc/docker/daemon.json'), '{ broken');
  const { printed: text, options } = await asked({ config });
  expect(await installClient({ ...options, client: 'docker', root, replace: false })).toBe(1);
  expect(text).toEqual({ out: '', error: '/etc/docker/daemon.json: it is not a JSON object\nnothing was changed\n' });
});

test('a command that finds another at work waits for it', async () => {
  const root = await temporaryDirectory();
  const [begun, rest] = [gate(), gate()];
  const other = withInstallationLock({ root, folder: '/etc/docker' }, async () => {
    begun.open();
    await rest.opened;
    expect(await readdir(root)).toEqual([]);
  });
  await begun.opened;
  const { options } = await asked({ config });
  const written = installClient({ ...options, client: 'docker', root, replace: false });
  await installClient({ ...options, client: 'podman', root: await temporaryDirectory(), replace: false });
  rest.open();
  await other;
  expect(await written).toBe(0);
});

test('several commands at once leave one mirror, and what was there before comes back', async () => {
  const root = await temporaryDirectory();
  const file = join(root, 'etc/docker/daemon.json');
  await mkdir(join(root, 'etc/docker'), { recursive: true });
  await writeFile(file, '{ "debug": true }');
  const write = (url: string) => [
    'src/main.ts',
    'client',
    'docker',
    '--write',
    '--root',
    root,
    '--registry',
    'docker.io',
    '--url',
    url,
  ];
  const ports = [5001, 5002, 5003, 5004];
  const writers = ports.map((port) => new StartedProcess(process.execPath, write(`http://127.0.0.1:${port}`)));
  expect(await Promise.all(writers.map(async ({ exited }) => (await exited).code))).toEqual([0, 0, 0, 0]);
  const { 'registry-mirrors': mirrors }: { 'registry-mirrors': readonly string[] } = JSON.parse(
    await readFile(file, 'utf8'),
  );
  expect(mirrors).toHaveLength(1);
  const undo = new StartedProcess(process.execPath, ['src/main.ts', 'client', 'docker', '--undo', '--root', root]);
  expect(await undo.exited).toMatchObject({ code: 0 });
  expect(await readFile(file, 'utf8')).toBe('{ "debug": true }');
});
