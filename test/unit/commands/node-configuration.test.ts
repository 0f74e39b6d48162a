import { chmod, readdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { configureNode, unconfigureNode, watchNode } from '../../../src/commands/node-configuration.ts';
import { NodeFolder } from '../../../src/nodes/node-folder.ts';
import { certs, testNode } from '../../support/node.ts';

const hub = `${certs}/docker.io/hosts.toml`;
const fallback = `${certs}/_default/hosts.toml`;
const registries = [{ name: 'docker.io' }];
const others = 'server = "https://mirror.example"\n';

describe('writing the files of a node', () => {
  test('each registry and all others get a file, and a second run changes nothing', async () => {
    const node = await testNode({ registries });
    expect(await configureNode(node.options)).toBe(0);
    expect(await node.files()).toEqual([fallback, hub]);
    expect(await node.isReady()).toBe(true);
    expect(node.actions).toEqual([`write ${hub}`, `write ${fallback}`]);

    expect(await configureNode(node.options)).toBe(0);
    expect(node.actions).toHaveLength(2);
  });

  test('a changed and a deleted file are repaired, and a registry that is no longer wanted loses its file', async () => {
    const node = await testNode({ registries: [{ name: 'docker.io' }, { name: 'quay.io' }] });
    await configureNode(node.options);
    const before = await node.read(hub);
    await node.write(hub, `${before}# changed\n`);
    await rm(join(node.root, fallback));
    await node.set({ registries });
    node.lines.length = 0;

    expect(await configureNode(node.options)).toBe(0);
    expect(await node.read(hub)).toBe(before);
    expect(await node.files()).toEqual([fallback, hub]);
    expect(node.actions).toEqual([`repair ${hub}`, `write ${fallback}`, `remove ${certs}/quay.io/hosts.toml`]);
  });

  test('the CA certificates are beside each file that names them', async () => {
    const node = await testNode({ registries, mirrors: ['https://mirror.internal:5000'], caFile: 'ca.crt' });
    await node.write('/../ca.crt', '-----BEGIN CERTIFICATE-----\n');
    expect(await configureNode(node.options)).toBe(0);

    expect(await node.read(hub)).toContain('ca = "layerwell-ca.pem"');
    expect(await node.read(`${certs}/docker.io/layerwell-ca.pem`)).toContain('-----BEGIN CERTIFICATE-----');
    await node.set({ registries });
    await configureNode(node.options);
    expect(await node.files()).toEqual([fallback, hub]);
  });

  test('CA certificates that are too long to be read again are not written', async () => {
    const node = await testNode({ registries, mirrors: ['https://mirror.internal'], caFile: 'ca.crt' });
    await node.write('/../ca.crt', 'CA'.repeat(600_000));
    for (const _ of [1, 2]) expect(await configureNode(node.options)).toBe(1);
    expect(node.actions.every((action) => action.startsWith('failed '))).toBe(true);
    expect(await node.files()).toEqual([]);
  });

  test('without the address of the node nothing is written that needs it', async () => {
    const node = await testNode({ registries });
    await expect(configureNode({ ...node.options, nodeIP: undefined })).rejects.toThrow('NODE_IP');
    expect(await node.files()).toEqual([]);
  });

  test('settings that cannot be used are refused with every problem', async () => {
    const node = await testNode({
      mirrors: ['mirror:5000', 'https://{nodeIP}:99999'],
      runtime: 'docker',
      registries: [{ name: 'Docker.io' }],
    });
    await expect(configureNode(node.options)).rejects.toThrow(
      /runtime: .*[^]*mirrors\[0\]: .*[^]*mirrors\[1\]: .*[^]*registries\[0\]\.name: /,
    );
  });
});

describe('files of others', () => {
  test('are not touched, and the pod is not ready', async () => {
    const node = await testNode({ registries });
    await node.write(hub, others);
    expect(await configureNode(node.options)).toBe(1);

    expect(await node.read(hub)).toBe(others);
    expect(await node.files()).toEqual([fallback, hub]);
    expect(await node.isReady()).toBe(false);
    expect(node.actions).toContain(`refuse ${hub}`);
  });

  test('are replaced if the operator says so, kept, and put back', async () => {
    const node = await testNode({ registries, takeOver: true });
    await node.write(hub, others);
    expect(await configureNode(node.options)).toBe(0);
    expect(await node.read(hub)).toContain('http://10.0.0.7:30500');
    expect(await node.read(`${hub}.before-layerwell`)).toBe(others);

    expect(await unconfigureNode(node.options, { stays: false })).toBe(0);
    expect(await node.read(hub)).toBe(others);
    expect(await node.files()).toEqual([hub]);
  });

  test('with credentials in them stay as secret as they were while they are kept, and come back byte for byte', async () => {
    const node = await testNode({ registries, takeOver: true });
    const bytes = Buffer.from(
      '# caf\xe9\n[host."https://mirror.example".header]\n  authorization = "Basic c2VjcmV0"\n',
      'latin1',
    );
    await node.write(hub, '');
    await writeFile(join(node.root, hub), bytes);
    await chmod(join(node.root, hub), 0o600);
    await configureNode(node.options);
    const modeOf = async (path: string) => (await stat(join(node.root, path))).mode & 0o777;
    expect(await modeOf(`${hub}.before-layerwell`)).toBe(0o600);
    expect(await modeOf(hub)).toBe(0o644);
    await unconfigureNode(node.options, { stays: false });
    expect(await modeOf(hub)).toBe(0o600);
    expect((await readFile(join(node.root, hub))).equals(bytes)).toBe(true);
    expect(await node.files()).toEqual([hub]);
  });

  test('that replaced one of ours later are theirs', async () => {
    const node = await testNode({ registries });
    await configureNode(node.options);
    await node.write(hub, others);
    expect(await configureNode(node.options)).toBe(1);
    expect(await unconfigureNode(node.options, { stays: false })).toBe(0);
    expect(await node.files()).toEqual([hub]);
    expect(await node.read(hub)).toBe(others);
  });

  test('a symbolic link is not followed', async () => {
    const node = await testNode({ registries, takeOver: true });
    await node.write('/elsewhere', others);
    await node.write(`${certs}/docker.io/ca.crt`, '');
    await symlink(join(node.root, 'elsewhere'), join(node.root, hub));
    expect(await configureNode(node.options)).toBe(1);
    expect(await node.read('/elsewhere')).toBe(others);
  });

  test('a folder that is a symbolic link, or a file, is not touched', async () => {
    const node = await testNode({ registries: [...registries, { name: 'quay.io' }] });
    await node.write('/elsewhere/ca.crt', 'theirs');
    await node.write(`${certs}/quay.io`, 'theirs');
    await symlink(join(node.root, 'elsewhere'), join(node.root, certs, 'docker.io'));
    expect(await configureNode(node.options)).toBe(1);

    expect(node.actions).toEqual([`refuse ${hub}`, `refuse ${certs}/quay.io/hosts.toml`, `write ${fallback}`]);
    await unconfigureNode(node.options, { stays: false });
    expect(await node.files()).toEqual(['/elsewhere/ca.crt', `${certs}/docker.io/ca.crt`, `${certs}/quay.io`]);
  });

  test('beside ours in the folder of a registry stay', async () => {
    const node = await testNode({ registries });
    await node.write(`${certs}/docker.io/ca.crt`, 'theirs');
    await configureNode(node.options);
    await unconfigureNode(node.options, { stays: false });
    expect(await node.files()).toEqual([`${certs}/docker.io/ca.crt`]);
  });

  test("no file of a registry is written if one of them is another's", async () => {
    const node = await testNode({ registries, mirrors: ['https://mirror.internal'], caFile: 'ca.crt' });
    await node.write('/../ca.crt', 'CA');
    await node.write(hub, others);
    await configureNode(node.options);
    expect(await node.files()).toEqual([fallback, `${certs}/_default/layerwell-ca.pem`, hub]);
  });
});

test('a write that fails leaves no empty folder of a registry, which would hide _default', async () => {
  const { root } = await testNode();
  const folder = new NodeFolder({ root, folder: certs });
  await expect(folder.replace(`${certs}/docker.io/${'x'.repeat(250)}`, '')).rejects.toThrow('ENAMETOOLONG');
  expect(await readdir(join(root, certs))).toEqual([]);
});

describe('a write that was interrupted', () => {
  test('left a file unfinished: it is written again, and none is left', async () => {
    const node = await testNode({ registries });
    const left = `${hub}.0a1b2c3d.layerwell-unfinished`;
    await node.write(left, '# layer');
    const longAgo = new Date(Date.now() - 3_600_000);
    await utimes(join(node.root, left), longAgo, longAgo);
    expect(await configureNode(node.options)).toBe(0);
    expect(await node.files()).toEqual([fallback, hub]);
  });

  test('had kept what was there: it is still replaced and put back', async () => {
    const node = await testNode({ registries, takeOver: true });
    await node.write(hub, others);
    await node.write(`${hub}.before-layerwell`, others);
    expect(await configureNode(node.options)).toBe(0);
    await unconfigureNode(node.options, { stays: false });
    expect(await node.read(hub)).toBe(others);
  });

  test('was the removal: the rest is removed, and what was there comes back', async () => {
    const node = await testNode({ registries, takeOver: true });
    await node.write(hub, others);
    await configureNode(node.options);
    await rm(join(node.root, hub));
    await node.write(`${fallback}.0a1b2c3d.layerwell-unfinished`, '# layer');
    await node.write(`${hub}.before-layerwell.0a1b2c3d.layerwell-unfinished`, '# layer');
    await node.write(`${certs}/.layerwell-removed`, '');
    await node.write(`${certs}/.layerwell-removed.0a1b2c3d.layerwell-unfinished`, '');
    expect(await unconfigureNode(node.options, { stays: false })).toBe(0);
    expect(await node.files()).toEqual([hub]);
    expect(await node.read(hub)).toBe(others);
  });
});

describe('watching', () => {
  test('by two at once writes every file whole', async () => {
    const caFile = 'ca.crt';
    const node = await testNode({ registries, mirrors: ['https://mirror.internal'], caFile });
    const ca = `${certs}/docker.io/layerwell-ca.pem`;
    await node.write(`/../${caFile}`, 'CA'.repeat(100_000));
    await configureNode(node.options);
    const whole = await node.read(ca);
    for (let round = 0; round < 20; round += 1) {
      await rm(join(node.root, ca));
      expect(await Promise.all([configureNode(node.options), configureNode(node.options)])).toEqual([0, 0]);
      expect(await node.read(ca)).toBe(whole);
    }
  });

  test('repairs drift, reads the settings again, and logs what lasts once', async () => {
    const node = await testNode({ registries: [...registries, { name: 'quay.io' }] });
    await node.write(`${certs}/quay.io/hosts.toml`, others);
    const rounds = [
      () => node.write(hub, '# layerwell cache/layerwell: changed'),
      () => rename(join(node.root, certs, '_default'), join(node.root, certs, 'moved')),
      () => node.set({ registries: [{ name: 'ghcr.io' }], everyRegistry: false }),
      async () => node.stop(),
    ];
    const wait = async () => rounds.shift()?.();
    expect(await watchNode({ ...node.options, wait })).toBe(0);

    expect(node.actions.filter((action) => action === `refuse ${certs}/quay.io/hosts.toml`)).toHaveLength(1);
    expect(node.actions).toContain(`refuse ${hub}`); // Its first line is not ours any more.
    expect(await node.files()).toEqual([hub, `${certs}/ghcr.io/hosts.toml`, `${certs}/quay.io/hosts.toml`].toSorted());
    expect(await node.isReady()).toBe(true);
  });

  test('survives settings that cannot be read, keeps the files, and is not ready', async () => {
    const node = await testNode({ registries });
    const rounds = [() => node.set({ runtime: 'nothing' }), async () => node.stop()];
    await watchNode({ ...node.options, wait: async () => rounds.shift()?.() });
    expect(await node.isReady()).toBe(false);
    expect(await node.files()).toEqual([fallback, hub]);
  });

  test('does not repair what is being removed, and a new watcher does', async () => {
    const node = await testNode({ registries });
    const removed = async () => {
      await node.write(`${certs}/.layerwell-removed`, '');
      await rm(join(node.root, hub));
    };
    const rounds = [removed, async () => node.stop()];
    await watchNode({ ...node.options, wait: async () => rounds.shift()?.() });
    expect(await node.files()).not.toContain(hub);

    const next = { ...node.options, stop: new AbortController().signal };
    expect(await configureNode(next)).toBe(1);
    expect(node.lines.at(-1)).toMatchObject({ level: 40, file: `${certs}/.layerwell-removed` });
    const stop = new AbortController();
    await watchNode({ ...next, stop: stop.signal, wait: async () => stop.abort() });
    expect(await node.files()).toEqual([fallback, hub]);
  });
});

test('a removal that stays is ready, and ends when it is stopped, without a trace', async () => {
  const node = await testNode({ registries });
  await configureNode(node.options);
  const waits: number[] = [];
  const wait = async (ms: number) => {
    waits.push(ms);
    expect(await node.files()).toContain(`${certs}/.layerwell-removed`);
  };
  expect(await unconfigureNode({ ...node.options, wait }, { stays: true })).toBe(0);
  expect(waits).toHaveLength(2);
  expect(await node.isReady()).toBe(true);
  expect(await node.files()).toEqual([certs]);
});

test('a removal where nothing was written leaves nothing', async () => {
  const node = await testNode({ registries });
  expect(await unconfigureNode(node.options, { stays: false })).toBe(0);
  expect(await node.files()).toEqual([]);
});
