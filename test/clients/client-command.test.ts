import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { startDockerRegistry } from '../support/docker-registry.ts';
import { image } from '../support/images.ts';
import { StartedProcess, startProcess } from '../support/processes.ts';
import { pushImage } from '../support/push.ts';
import { startMirror } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { describeWithTools, tool } from '../support/tools.ts';
import { configToml } from './containerd.ts';
import { daemonConfig } from './dockerd.ts';

interface Host {
  /** Where the file system is that the command writes to. */
  readonly root: string;
  readonly image: string;
  /** `layerwell client …` for the mirror and the root. */
  readonly client: (
    ...args: string[]
  ) => Promise<{ readonly code: number | null; readonly out: string; readonly error: string }>;
}

/** A mirror, an image of its upstream, and a machine with these files. */
async function hostWith(
  files: Readonly<Record<string, string>>,
  { registry, env }: { readonly registry: string; readonly env: Readonly<Record<string, string>> },
  root: string,
): Promise<Host> {
  const upstream = await startDockerRegistry();
  const published = image();
  await pushImage(upstream.url, 'library/app', '1', published);
  const mirror = await startMirror({
    upstreams: { 'docker.io': { url: upstream.url }, [registry]: { url: upstream.url } },
  });
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
  return {
    root,
    image: `${registry}/library/app@${published.manifest.digest}`,
    async client(...args) {
      const place = args.includes('--undo') ? [] : ['--config', mirror.configFile];
      const command = new StartedProcess(
        process.execPath,
        ['src/main.ts', 'client', ...args, ...place, '--root', root],
        { env },
      );
      const { code } = await command.exited;
      return { code, out: command.stdout, error: command.stderr };
    },
  };
}

/** Every file below a folder of the root, with its bytes and mode. */
async function filesIn(root: string, folder: string): Promise<Readonly<Record<string, string>>> {
  const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true });
  const all = entries.map(async (entry): Promise<[string, string]> => {
    const path = join(entry.parentPath, entry.name);
    return [path, entry.isFile() ? `${(await stat(path)).mode} ${await readFile(path, 'base64')}` : 'folder'];
  });
  return Object.fromEntries(await Promise.all(all));
}

describeWithTools(
  ['dockerd', 'docker', 'docker-registry'],
  'dockerd, by `layerwell client docker`',
  () => {
    test('pulls through the mirror after --write and a reload, or a restart, and its file is as before after --undo', async () => {
      const root = await temporaryDirectory();
      const socket = `unix://${join(root, 'docker.sock')}`;
      const file = '/etc/docker/daemon.json';
      const text = `  ${JSON.stringify({ ...daemonConfig(root, socket), 'registry-mirrors': ['http://127.0.0.1:9'] }, null, 7)}`;
      const env = { DOCKER_HOST: socket, DOCKER_CONFIG: join(root, 'cli') };
      const host = await hostWith({ [file]: text }, { registry: 'docker.io', env }, root);
      await chmod(join(root, file), 0o640);
      const before = await filesIn(root, 'etc');
      const asks = () => host.client('test', 'docker', '--image', 'app:1');

      await withDockerd(join(root, file), async (daemon) => {
        const { code, error } = await asks();
        expect(code).toBe(1);
        expect(error).toContain('docker: does not ask this mirror; docker could not pull');
        expect(error).toContain(`${file} does not name the mirror at`);
        expect(await host.client('docker', '--write')).toMatchObject({
          code: 0,
          out: expect.stringContaining('then: systemctl reload docker'),
        });
        expect(await asks()).toMatchObject({ code: 1, error: expect.stringContaining('has it read them?') });
        process.kill(daemon.pid, 'SIGHUP'); // As systemctl reload does.
        await daemon.waitUntil(({ output }) => output.includes('Reloaded configuration'));
        expect(await asks()).toMatchObject({ code: 0 });
      });
      await withDockerd(join(root, file), async () => {
        expect(await asks()).toMatchObject({
          code: 0,
          out: expect.stringContaining('docker: pulls through the mirror'),
        });
      });
      expect(await host.client('docker', '--undo')).toMatchObject({ code: 0 });
      expect(await filesIn(root, 'etc')).toEqual(before);
    });
  },
  { asRoot: true },
);

/** What systemd does: starts it, and stops it again. */
async function withDockerd(configFile: string, work: (daemon: StartedProcess) => Promise<void>): Promise<void> {
  const daemon = startProcess(tool('dockerd'), ['--config-file', configFile, '--userland-proxy=false']);
  await daemon.waitUntil(({ output }) => output.includes('API listen on'), 40_000);
  await work(daemon);
  await daemon.stop();
}

describeWithTools(
  ['containerd', 'ctr', 'docker-registry'],
  'containerd, by `layerwell client containerd`',
  () => {
    test('pulls through the mirror after --write, and every file is as before after --undo', async () => {
      const root = await temporaryDirectory();
      const socket = join(root, 'containerd.sock');
      const theirs = '/etc/containerd/certs.d/registry.test/hosts.toml';
      const config = '/etc/containerd/config.toml';
      const files = { [config]: configToml(root, socket), [theirs]: '# mine\n[host."http://127.0.0.1:9"]\n' };
      const host = await hostWith(files, { registry: 'registry.test', env: { CONTAINERD_ADDRESS: socket } }, root);
      const before = await filesIn(root, 'etc');
      const containerd = startProcess(tool('containerd'), ['--config', join(root, config)]);
      await containerd.waitUntil(({ output }) => output.includes('containerd successfully booted'));
      const asks = () => host.client('test', 'containerd', '--image', host.image);

      expect(await asks()).toMatchObject({ code: 1, error: expect.stringContaining('does not name the mirror') });
      expect(await host.client('containerd', '--write')).toMatchObject({
        code: 1,
        error: `${theirs}: there is another file already\nnothing was changed\n`,
      });
      expect(await filesIn(root, 'etc')).toEqual(before);
      const written = await host.client('containerd', '--write', '--replace');
      expect(written).toMatchObject({ code: 0, error: expect.stringContaining('config.toml has no config_path') });
      expect(await asks()).toMatchObject({
        code: 0,
        out: expect.stringContaining('containerd: pulls through the mirror'),
      });
      expect(await host.client('containerd', '--undo')).toMatchObject({ code: 0 });
      expect(await filesIn(root, 'etc')).toEqual(before);
    });
  },
  { asRoot: true },
);

describeWithTools(
  ['podman', 'docker-registry'],
  'podman, by `layerwell client podman`',
  () => {
    test('pulls through the mirror after --write, and every file is as before after --undo', async () => {
      const root = await temporaryDirectory();
      const storage = `[storage]\ndriver = "vfs"\ngraphroot = "${root}/graph"\nrunroot = "${root}/run"\n`;
      const env = { HOME: root, TMPDIR: root, CONTAINERS_STORAGE_CONF: join(root, 'etc/storage.conf') };
      const host = await hostWith({ '/etc/storage.conf': storage }, { registry: 'registry.test', env }, root);
      const folder = ['--folder', '/.config/containers/registries.conf.d'];
      const before = await filesIn(root, 'etc');
      const asks = () => host.client('test', 'podman', '--image', host.image, ...folder);

      expect(await asks()).toMatchObject({
        code: 1,
        error: expect.stringContaining('50-layerwell.conf does not name the mirror'),
      });
      expect(await host.client('podman', '--write', ...folder)).toMatchObject({ code: 0 });
      expect(await asks()).toMatchObject({ code: 0, out: expect.stringContaining('podman: pulls through the mirror') });
      expect(await host.client('podman', '--undo', ...folder)).toMatchObject({ code: 0 });
      await expect(stat(join(root, '.config'))).rejects.toThrow('ENOENT');
      expect(await filesIn(root, 'etc')).toEqual(before);
    });
  },
  { asRoot: true },
);
