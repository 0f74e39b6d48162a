import { chmod, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { Installation } from '../../../src/clients/installation.ts';
import { InstalledFiles } from '../../../src/clients/installed-files.ts';
import { clientConfiguration, clientKinds, type InstalledClient } from '../../../src/clients/kinds.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';

const daemonFile = '/etc/docker/daemon.json';
const quayFile = '/etc/containerd/certs.d/quay.io/hosts.toml';

/** A machine with these files. */
async function machine(files: Readonly<Record<string, string>> = {}) {
  const root = await temporaryDirectory();
  const at = (path: string) => join(root, path);
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(at(path)), { recursive: true });
    await writeFile(at(path), text);
  }
  return { root, at, textOf: (path: string) => readFile(at(path), 'utf8') };
}

interface Wanted {
  readonly url?: string;
  readonly registries?: readonly string[];
}

function wantedBy(
  client: InstalledClient,
  { url = 'http://127.0.0.1:5000', registries = ['docker.io', 'quay.io'] }: Wanted,
) {
  return clientConfiguration(client, { url, registries: registries.map((name) => ({ name })), patterns: [] }).files;
}

/** `files` may break off. */
function installed(client: InstalledClient, { root }: { readonly root: string }, files = new InstalledFiles(root)) {
  const installation = new Installation({ files, folder: clientKinds[client].folder });
  return {
    write: (wanted: Wanted = {}, { replaces = false } = {}) =>
      installation.write(wantedBy(client, wanted), { replaces }),
    undo: ({ force = false } = {}) => installation.undo({ force }),
  };
}

/** Every file and folder below a root, with what is in it. */
async function everythingIn(root: string): Promise<Readonly<Record<string, string>>> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const all = entries.map(async (entry): Promise<[string, string]> => {
    const path = join(entry.parentPath, entry.name);
    return [path.slice(root.length), entry.isFile() ? await readFile(path, 'utf8') : 'folder'];
  });
  return Object.fromEntries(await Promise.all(all));
}

const before = '{\n   "debug":true,\n   "log-opts": { "max-size": "10m" } }';

test('what was written is taken back byte for byte, with the mode of the file', async () => {
  const host = await machine({ [daemonFile]: before });
  await chmod(host.at(daemonFile), 0o600);
  const was = await everythingIn(host.root);
  const docker = installed('docker', host);
  expect(await docker.write()).toEqual([{ path: daemonFile, action: 'wrote', copy: `${daemonFile}.before-layerwell` }]);
  expect(JSON.parse(await host.textOf(daemonFile))).toMatchObject({
    debug: true,
    'registry-mirrors': ['http://127.0.0.1:5000'],
  });
  expect((await stat(host.at(daemonFile))).mode & 0o777).toBe(0o600);
  expect(await docker.undo()).toEqual([{ path: daemonFile, action: 'restored' }]);
  expect(await everythingIn(host.root)).toEqual(was);
  expect((await stat(host.at(daemonFile))).mode & 0o777).toBe(0o600);
});

test.each(
  Object.keys(clientKinds).filter((name): name is InstalledClient => 'folder' in clientKinds[name as InstalledClient]),
)('%s on a machine without any of its files is as it was after --undo', async (client) => {
  const host = await machine({ '/etc/hostname': 'x' });
  const was = await everythingIn(host.root);
  const outcomes = await installed(client, host).write();
  expect(outcomes.every(({ action }) => action === 'wrote')).toBe(true);
  expect((await installed(client, host).undo()).every(({ action }) => action === 'removed')).toBe(true);
  expect(await everythingIn(host.root)).toEqual(was);
});

test('a second time nothing is written, and nothing is left to take back', async () => {
  const host = await machine({ [daemonFile]: before });
  const docker = installed('docker', host);
  await docker.write();
  const once = await everythingIn(host.root);
  expect(await docker.write()).toEqual([{ path: daemonFile, action: 'kept' }]);
  expect(await everythingIn(host.root)).toEqual(once);
  await docker.undo();
  expect(await docker.undo()).toEqual([]);
});

test('a mirror that moved replaces its former address, and what was there before comes back', async () => {
  const host = await machine({ [daemonFile]: before });
  const docker = installed('docker', host);
  await docker.write();
  await docker.write({ url: 'http://10.0.0.7:5000' });
  expect(JSON.parse(await host.textOf(daemonFile))).toMatchObject({
    'registry-mirrors': ['http://10.0.0.7:5000'],
    'insecure-registries': ['10.0.0.7:5000'],
  });
  await docker.undo();
  expect(await host.textOf(daemonFile)).toBe(before);
});

test('a registry that is no upstream any more loses its file, unless that was changed', async () => {
  const host = await machine();
  const containerd = installed('containerd', host);
  await containerd.write({ registries: ['docker.io', 'quay.io', 'ghcr.io'] });
  const ghcrFile = '/etc/containerd/certs.d/ghcr.io/hosts.toml';
  await writeFile(host.at(ghcrFile), '# mine now\n');
  const outcomes = await containerd.write({ registries: ['docker.io'] });
  expect(outcomes.filter(({ action }) => action !== 'kept')).toEqual([
    { path: quayFile, action: 'removed' },
    { path: ghcrFile, action: 'left', reason: 'it was changed after it was written here' },
  ]);
  await expect(stat(dirname(host.at(quayFile)))).rejects.toThrow('ENOENT');
});

test('a file that was changed since is not taken back, and nothing else is, unless by force: then the change is kept', async () => {
  const host = await machine({ [quayFile]: 'server = "https://quay.io"\n' });
  const containerd = installed('containerd', host);
  await containerd.write({}, { replaces: true });
  await writeFile(host.at(quayFile), '# changed\n');
  const changed = await everythingIn(host.root);
  expect(await containerd.undo()).toEqual([
    { path: quayFile, action: 'refused', reason: 'it was changed after it was written here' },
  ]);
  expect(await everythingIn(host.root)).toEqual(changed);
  expect(await containerd.undo({ force: true })).toContainEqual({
    path: quayFile,
    action: 'restored',
    copy: `${quayFile}.changed-since-layerwell`,
  });
  const after = await everythingIn(host.root);
  expect(after[quayFile]).toBe('server = "https://quay.io"\n');
  expect(after[`${quayFile}.changed-since-layerwell`]).toBe('# changed\n');
});

test('a file that was removed since comes back by force only', async () => {
  const host = await machine({ [daemonFile]: before });
  const docker = installed('docker', host);
  await docker.write();
  await rm(host.at(daemonFile));
  expect(await docker.undo()).toMatchObject([
    { action: 'refused', reason: 'it was removed after it was written here' },
  ]);
  await docker.undo({ force: true });
  expect(await host.textOf(daemonFile)).toBe(before);
});

test('a file of somebody else stays, and so do all others; --replace replaces it and keeps it', async () => {
  const host = await machine({ [quayFile]: 'server = "https://quay.io"\n' });
  const was = await everythingIn(host.root);
  const containerd = installed('containerd', host);
  expect(await containerd.write()).toEqual([
    { path: quayFile, action: 'refused', reason: 'there is another file already' },
  ]);
  expect(await everythingIn(host.root)).toEqual(was);
  expect(await containerd.write({}, { replaces: true })).toContainEqual({
    path: quayFile,
    action: 'wrote',
    copy: `${quayFile}.before-layerwell`,
  });
  await containerd.undo();
  expect(await everythingIn(host.root)).toEqual(was);
});

test('a symbolic link, the backup of somebody else and a lost backup are not touched', async () => {
  const linked = await machine({ '/srv/daemon.json': before, '/etc/docker/other': '' });
  await symlink(linked.at('/srv/daemon.json'), linked.at(daemonFile));
  expect(await installed('docker', linked).write()).toMatchObject([
    { reason: 'it is a symbolic link or no ordinary file' },
  ]);

  const kept = await machine({ [daemonFile]: before, [`${daemonFile}.before-layerwell`]: '{}' });
  expect(await installed('docker', kept).write()).toMatchObject([
    { reason: 'the backup of an earlier change is beside it' },
  ]);

  const lost = await machine({ [daemonFile]: before });
  await installed('docker', lost).write();
  await rm(lost.at(`${daemonFile}.before-layerwell`));
  const reason = 'its backup is missing or was changed';
  expect(await installed('docker', lost).undo()).toMatchObject([{ action: 'refused', reason }]);
  expect(await installed('docker', lost).write({ url: 'http://10.0.0.7:5000' })).toMatchObject([{ reason }]);
  expect(await installed('docker', lost).undo({ force: true })).toMatchObject([{ action: 'left', reason }]);
  expect(await installed('docker', lost).undo()).toEqual([]);
});

test('a root whose folder leads out of it by a symbolic link is refused', async () => {
  const [host, outside] = [await machine({ '/etc/hostname': '' }), await machine({ '/docker/other': '' })];
  await symlink(outside.at('/docker'), host.at('/etc/docker'));
  await expect(installed('docker', host).write()).rejects.toThrow('leads out of');
  expect(await everythingIn(outside.root)).toEqual({ '/docker': 'folder', '/docker/other': '' });
});

/** The steps that change something. A process that is killed does none after the last. */
const changingSteps = ['replace', 'keep', 'move', 'remove', 'makeFolder', 'removeFolderIfEmpty'] as const;

class KilledFiles extends InstalledFiles {
  #left: number;

  constructor(root: string, steps: number) {
    super(root);
    this.#left = steps;
    for (const step of changingSteps) {
      const original = this[step].bind(this);
      Object.defineProperty(this, step, {
        value: (...args: unknown[]) => this.#step(() => Reflect.apply(original, this, args)),
      });
    }
  }

  #step(work: () => unknown): unknown {
    if (this.#left === 0) throw new Error('killed');
    this.#left -= 1;
    return work();
  }
}

test('a write or an undo that is killed at any step is completed by the next, and taken back whole', async () => {
  for (let steps = 0; steps < 30; steps += 1) {
    const host = await machine({ [quayFile]: 'server = "x"\n' });
    const was = await everythingIn(host.root);
    const containerd = installed('containerd', host);
    await installed('containerd', host, new KilledFiles(host.root, steps))
      .write({}, { replaces: true })
      .catch(() => {});
    await containerd.write({}, { replaces: true });
    await installed('containerd', host, new KilledFiles(host.root, steps))
      .write({ url: 'http://10.0.0.7:5000' })
      .catch(() => {});
    await containerd.write({ url: 'http://10.0.0.8:5000' });
    expect(await host.textOf(quayFile)).toContain('10.0.0.8');
    await installed('containerd', host, new KilledFiles(host.root, steps))
      .undo()
      .catch(() => {});
    await containerd.undo();
    expect(await everythingIn(host.root)).toEqual(was);
  }
});

test('a file that somebody else changes while it is written is not overwritten', async () => {
  const host = await machine({ [daemonFile]: before });
  class Disturbed extends InstalledFiles {
    override async keep(path: string): Promise<void> {
      await rm(host.at(path));
      await writeFile(host.at(path), '{"theirs": true}');
      await super.keep(path);
    }
  }
  await expect(installed('docker', host, new Disturbed(host.root)).write()).rejects.toThrow('was changed meanwhile');
  expect(await host.textOf(daemonFile)).toBe('{"theirs": true}');
  const docker = installed('docker', host);
  expect(await docker.write()).toMatchObject([{ action: 'wrote' }]);
  expect(await docker.undo()).toMatchObject([{ action: 'restored' }]);
  expect(await host.textOf(daemonFile)).toBe('{"theirs": true}');
});

test('a journal that cannot be read is told, and nothing is touched', async () => {
  const host = await machine({ [daemonFile]: before, '/etc/docker/.layerwell-client.json': '{"version":2}' });
  const was = await everythingIn(host.root);
  await expect(installed('docker', host).write()).rejects.toThrow('.layerwell-client.json cannot be read');
  await expect(installed('docker', host).undo()).rejects.toThrow('.layerwell-client.json cannot be read');
  expect(await everythingIn(host.root)).toEqual(was);
});
