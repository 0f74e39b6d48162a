import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { type TestClientOptions, testClients } from '../../src/commands/client/test-client.ts';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { freePort } from '../support/free-port.ts';
import { image } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

/** A folder with programs, each of which is what it does. */
async function programs(does: Readonly<Record<string, string>>): Promise<string> {
  const folder = await temporaryDirectory();
  for (const [name, script] of Object.entries(does)) {
    await writeFile(join(folder, name), `#!${process.execPath}\n${script}\n`);
    await chmod(join(folder, name), 0o755);
  }
  return folder;
}

async function mirrorWithApp() {
  const hub = await startFakeRegistry();
  const pulled = image();
  hub.content.add('library/app', '1', pulled);
  const upstreams = { 'docker.io': { url: hub.url }, 'quay.io': { url: hub.url } };
  const app = await startApp({ upstreams, management: { host: '127.0.0.1', port: 0 } });
  const digest = pulled.manifest.digest;
  const get = (path: string) => `await fetch('${app.url}${path}')`;
  return { app, digest, pulls: get(`/v2/library/app/manifests/${digest}`), get };
}

interface Tried extends Partial<TestClientOptions> {
  readonly does: Readonly<Record<string, string>>;
}

async function tested(app: { readonly url: string; readonly managementUrl: string }, { does, ...options }: Tried) {
  let [out, error] = ['', ''];
  const code = await testClients({
    file: '/nowhere',
    env: { PATH: await programs(does) },
    server: app.managementUrl,
    url: app.url,
    clients: [],
    root: await temporaryDirectory(),
    json: false,
    withinMs: 60_000,
    looksOnForMs: 300,
    print: (text) => void (out += text),
    printError: (text) => void (error += text),
    ...options,
  });
  return { code, out, error };
}

test('a client that pulls through the mirror is proven by the request for the smallest cached image', async () => {
  const { app, digest, pulls } = await mirrorWithApp();
  await ask(app, '/v2/library/app/manifests/1');
  const { code, out, error } = await tested(app, { does: { podman: pulls } });
  expect({ code, error }).toEqual({ code: 0, error: '' });
  expect(out).toBe(
    `podman: pulls through the mirror: it was asked for docker.io/library/app@${digest} (GET manifest: 200, hit, for 127.0.0.1)\n`,
  );
});

test('an earlier request for the same image proves nothing; what may be wrong is said', async () => {
  const { app, digest } = await mirrorWithApp();
  await ask(app, `/v2/library/app/manifests/${digest}`);
  const root = await temporaryDirectory();
  const options = { does: { docker: '' }, root, image: `app@${digest}` };
  const { code, out, error } = await tested(app, options);
  expect({ code, out }).toEqual({ code: 1, out: '' });
  expect(error).toContain('dockerd asks nobody for a digest that it has');
  expect(error).toContain(`docker: pulled docker.io/library/app@${digest}, but not through this mirror\n`);
  expect(error).toContain(
    `/etc/docker/daemon.json does not name the mirror at ${app.url}: layerwell client docker --write`,
  );

  await mkdir(dirname(join(root, 'etc/docker/daemon.json')), { recursive: true });
  await writeFile(join(root, 'etc/docker/daemon.json'), JSON.stringify({ 'registry-mirrors': [app.url] }));
  expect((await tested(app, options)).error).toContain(
    'its files name the mirror: has it read them? (systemctl reload docker)',
  );
});

test('a client that asks the mirror and cannot pull says why, and so does one that does not ask', async () => {
  const { app, pulls } = await mirrorWithApp();
  await ask(app, '/v2/library/app/manifests/1');
  const failing = "console.error('\\u001b[31munpacking: no space left on device'); process.exit(1)";
  const asked = await tested(app, { does: { podman: `${pulls}; ${failing}` } });
  expect(asked).toMatchObject({
    code: 1,
    error: expect.stringMatching(/asks the mirror \(GET manifest: 200.*no space left/s),
  });
  expect(asked.error).not.toContain('\u001b');
  const notAsked = await tested(app, { does: { podman: failing } });
  expect(notAsked).toMatchObject({
    code: 1,
    error: expect.stringMatching(/does not ask this mirror; .*no space left/s),
  });
});

test('a pull that does not end is given up', async () => {
  const { app } = await mirrorWithApp();
  await ask(app, '/v2/library/app/manifests/1');
  const { code, error } = await tested(app, { does: { podman: 'setInterval(() => {}, 1000)' }, withinMs: 500 });
  expect(code).toBe(1);
  expect(error).toContain('it did not end in time');
});

test('requests for another repository of the same digest are not those of the client', async () => {
  const { app, digest, get } = await mirrorWithApp();
  await ask(app, '/v2/library/app/manifests/1');
  const { code } = await tested(app, { does: { podman: get(`/v2/quay.io/library/app/manifests/${digest}`) } });
  expect(code).toBe(1);
});

test('--json has the requests, and why a client is not through', async () => {
  const { app, digest, pulls } = await mirrorWithApp();
  await ask(app, '/v2/library/app/manifests/1');
  const { code, out } = await tested(app, { does: { podman: pulls, docker: '' }, json: true });
  expect(code).toBe(1);
  expect(JSON.parse(out)).toMatchObject({
    clients: [
      { client: 'docker', isThrough: false, seen: [], problem: expect.stringContaining('not through this mirror') },
      { client: 'podman', isThrough: true, seen: [{ reference: digest, cache: 'hit' }] },
    ],
  });
});

test('without a client, without anything cached, with an image that dockerd cannot mirror, and without a mirror: the reason', async () => {
  const { app, digest } = await mirrorWithApp();
  expect(await tested(app, { does: {} })).toMatchObject({
    code: 1,
    error: expect.stringContaining('nothing is cached'),
  });
  const named = { image: `app@${digest}` };
  expect(await tested(app, { does: {}, ...named })).toMatchObject({
    code: 1,
    error: expect.stringContaining('no client is installed'),
  });
  expect(await tested(app, { does: {}, ...named, clients: ['podman'] })).toMatchObject({
    code: 1,
    error: 'podman: podman is not installed here\n',
  });
  const quay = await tested(app, { does: {}, image: 'quay.io/team/app:1', clients: ['docker'] });
  expect(quay).toMatchObject({ code: 1, error: expect.stringContaining('Docker Hub only') });
  expect(
    await tested({ url: app.url, managementUrl: `http://127.0.0.1:${await freePort()}` }, { does: {} }),
  ).toMatchObject({ code: 3 });
});
