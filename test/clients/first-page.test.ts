import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startDockerRegistry } from '../support/docker-registry.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { run } from '../support/processes.ts';
import { pushImage } from '../support/push.ts';
import { type RunningMirror, startMirror } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { describeWithTools, tool } from '../support/tools.ts';
import type { Client } from './client.ts';
import { startContainerd } from './containerd.ts';
import { containersClient } from './containers.ts';
import { startDockerd } from './dockerd.ts';
import { Readme } from './readme.ts';

const registry = 'registry.example.com:8443';
const user = { name: 'mirror', password: 'of the registry' };
const published = image();
const app = { repository: 'org/app', tag: 'v1' };

/** A mirror that is configured as the page says for a private registry without TLS, and the page as its clients read it. */
async function withPrivateRegistry(upstream: { readonly url: string }) {
  const secret = join(await temporaryDirectory(), 'registry-password');
  await writeFile(secret, `${user.password}\n`);
  const places = { '/run/secrets/registry-password': secret, 'http://registry.example.com:5000': upstream.url };
  const readme = await Readme.read(places);
  const { upstreams } = JSON.parse(readme.blockAfter('**For a private registry**'));
  const withoutTls = JSON.parse(`{ ${readme.commandWith('"url"')} }`);
  const mirror = await startMirror({ upstreams: { [registry]: { ...upstreams[registry], ...withoutTls } } });
  return { mirror, readme: await Readme.read({ ...places, '127.0.0.1:5000': mirror.host }) };
}

async function withAppPublished() {
  const upstream = await startDockerRegistry({ user });
  const authorization = `Basic ${Buffer.from(`${user.name}:${user.password}`).toString('base64')}`;
  await pushImage(upstream.url, app.repository, app.tag, published, { authorization });
  await upstream.forgetSeen();
  return { upstream, ...(await withPrivateRegistry(upstream)) };
}

/** What the page promises: the second pull costs the registry no blob. */
async function expectPulledThrough(client: Client, pulled = app): Promise<void> {
  expect(await client.pull(pulled)).toBe(published.manifest.digest);
  await client.forget();
  expect(await client.pull(pulled)).toBe(published.manifest.digest);
}

async function blobsServed(mirror: RunningMirror): Promise<number> {
  return (await mirror.metrics()).sum('layerwell_http_requests_total', { kind: 'blob', method: 'GET', code: '200' });
}

test('a private registry can be added to the shipped configuration', async () => {
  const directory = await temporaryDirectory();
  const [secret, file] = [join(directory, 'registry-password'), join(directory, 'mirror.config.json')] as const;
  await writeFile(secret, user.password);
  const shipped = JSON.parse(await readFile(new URL('../../mirror.config.json', import.meta.url), 'utf8'));
  const readme = await Readme.read({ '/run/secrets/registry-password': secret });
  const { upstreams } = JSON.parse(readme.blockAfter('**For a private registry**'));
  const { listen } = JSON.parse(readme.blockAfter('**For other machines**'));
  await writeFile(file, JSON.stringify({ ...shipped, listen, upstreams: { ...shipped.upstreams, ...upstreams } }));
  const checked = run(process.execPath, ['src/main.ts', 'check', '--config', file]);
  await expect(checked).resolves.toBeDefined();
});

describeWithTools(
  ['podman', 'docker-registry'],
  'podman, set up by the first page alone',
  () => {
    test('pulls from a private registry with a port, under its own name', async () => {
      const { upstream, mirror, readme } = await withAppPublished();
      const settings = readme.blockAfter('**podman, buildah, skopeo and CRI-O**');
      await expectPulledThrough(await containersClient('podman', { registry, mirror: mirror.host, settings }));
      expect(new Set((await upstream.downloads()).values())).toEqual(new Set([1]));
      expect(await blobsServed(mirror)).toBeGreaterThan(0);
    });
  },
  { asRoot: true },
);

describeWithTools(
  ['containerd', 'ctr', 'docker-registry'],
  'containerd, set up by the first page alone',
  () => {
    test('pulls from a private registry with a port, under its own name', async () => {
      const { upstream, mirror, readme } = await withAppPublished();
      const hostsFile = readme.blockAfter('**containerd**');
      const verb = readme.commandWith('ctr images pull --hosts-dir').split(' ').slice(1, 3);
      await expectPulledThrough((await startContainerd(mirror.url, { hostsFile, verb }))(registry));
      expect(new Set((await upstream.downloads()).values())).toEqual(new Set([1]));
      expect(await blobsServed(mirror)).toBeGreaterThan(0);
    });

    test('reads the folder from the table that the README names', async () => {
      const { readme } = await withPrivateRegistry({ url: 'http://127.0.0.1:9' });
      const file = join(await temporaryDirectory(), 'config.toml');
      await writeFile(file, readme.blockAfter('If containerd has no `config_path`'));
      const { stdout } = await run(tool('containerd'), ['--config', file, 'config', 'dump']);
      expect(stdout).toMatch(/config_path = "\/etc\/containerd\/certs\.d"/);
    });
  },
  { asRoot: true },
);

describeWithTools(
  ['dockerd', 'docker', 'docker-registry'],
  'docker, set up by the first page alone',
  () => {
    test("pulls from a private registry by the mirror's name", async () => {
      const { upstream, mirror, readme } = await withAppPublished();
      const daemonFile: object = JSON.parse(readme.blockAfter('**docker**'));
      const [, repository = ''] = /^docker pull (.*):v1$/.exec(readme.commandWith('docker pull ')) ?? [];
      const client = await startDockerd(mirror.url, { daemonFile });
      await expectPulledThrough(client, { repository, tag: app.tag });
      expect(new Set((await upstream.downloads()).values())).toEqual(new Set([1]));
      expect(await blobsServed(mirror)).toBeGreaterThan(0);
    });
  },
  { asRoot: true },
);

describeWithTools(['skopeo'], 'skopeo', () => {
  test('inspects an image of a registry whose account may pull but not list', async () => {
    const upstream = await startFakeRegistry({
      auth: { kind: 'basic', username: user.name, password: user.password },
    });
    upstream.content.add(app.repository, app.tag, published);
    upstream.script({ path: /\/tags\/list/ }, { status: 403 });
    const { readme } = await withPrivateRegistry(upstream);
    const [, name = ''] = /^docker pull (.*)$/.exec(readme.commandWith('docker pull ')) ?? [];
    const { stdout } = await run(tool('skopeo'), ['inspect', '--tls-verify=false', `docker://${name}`]);
    expect(JSON.parse(stdout)).toMatchObject({ Digest: published.manifest.digest });
    expect(upstream.count('GET', /\/tags\/list/)).toBe(1);
  });
});
