import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { ociIndex } from '../../src/oci/media-types.ts';
import { content, descriptorOf, image, multiPlatformImage } from '../support/images.ts';
import { pullAll, pullManifest } from '../support/pull.ts';
import { startApp } from '../support/start-app.ts';

const account = { username: 'mirror', password: 'secret' };

/** A mirror of a registry with a private repository, both of whose repositories it has pulled. */
async function start(pages: 'public' | 'management' = 'public') {
  const registry = await startFakeRegistry({
    auth: { kind: 'bearer', ...account, privateRepositories: ['acme/secret'] },
  });
  registry.content.add('library/app', '1.0', multiPlatformImage());
  const secret = image({ name: 'secret' });
  registry.content.add('acme/secret', '1.0', secret);
  const upstream = {
    url: registry.url,
    credentials: [{ kind: 'basic', ...account }],
    visibility: 'service',
    allowAnonymous: true,
  };
  const config = (rules: object) => ({
    upstreams: { 'docker.io': { ...upstream, ...rules } },
    management: { host: '127.0.0.1', port: 0, pages },
  });
  const app = await startApp(config({}));
  await pullAll(app, 'library/app', '1.0');
  await pullAll(app, 'acme/secret', '1.0');
  await app.quiet();
  await app.restart(config({ visibility: 'public', allowAnonymous: undefined }));
  await pullManifest(app, 'library/app', '1.0');
  const requests = registry.requests.length;
  const look = async (path: string, accept = 'text/html,application/xhtml+xml') => {
    const { status, headers, body } = await ask(app, path, { headers: { accept } });
    return { status, headers, text: body.toString() };
  };
  return { app, registry, secret, look, hasAsked: () => registry.requests.length > requests };
}

test('the URL of an image, opened in a browser, is its page, and asks no upstream', async () => {
  const { app, look, hasAsked } = await start();
  const { status, headers, text } = await look('/docker.io/library/app:1.0');
  expect(status).toBe(200);
  expect(headers['content-security-policy']).toContain("default-src 'none'");
  expect(text).toContain(`docker pull ${app.host}/docker.io/library/app:1.0`);
  expect(text).toContain('linux/arm64');
  expect(text).not.toMatch(/<form|Sign in|Purge|Shared with|Last pull/);
  expect((await look('/docker.io/library/app:1.0?platform=linux/arm64')).text).toContain('Layers for linux/arm64');
  expect((await look('/docker.io/library/app')).text).toContain('href="/docker.io/library/app:1.0"');
  expect((await look('/')).text).toContain('href="/docker.io/library/app"');
  expect((await look('/start')).text).toContain(`http://${app.host}`);
  expect((await look('/pages/style.css', 'text/css')).status).toBe(200);
  expect(hasAsked()).toBe(false);
});

test('a private repository is told as one that does not exist, in lists and by its address, and asks no upstream', async () => {
  const { secret, look, hasAsked } = await start();
  const unknown = await look('/docker.io/acme/none:1.0');
  expect(unknown.status).toBe(404);
  // Its manifest is in the store: a repository that everybody may read does not lead to it.
  const borrowed = await look(`/docker.io/library/app@${secret.manifest.digest}`);
  expect(borrowed.status).toBe(404);
  for (const path of ['/docker.io/acme/secret:1.0', '/docker.io/acme/secret']) {
    const { status, text } = await look(path);
    expect({ status, text }).toEqual({ status: 404, text: unknown.text });
  }
  for (const path of [
    '/',
    '/?last=docker.io%2Faaa',
    '/docker.io/library/app',
    '/docker.io/library/app:1.0',
    '/start',
  ]) {
    expect((await look(path)).text).not.toContain('secret');
  }
  expect(hasAsked()).toBe(false);
});

test('an image of a public repository that names content of a private one tells nothing of it', async () => {
  const { app, registry, secret, look } = await start();
  const [config] = secret.blobs;
  const copied = content(secret.manifest.mediaType, Buffer.from(`${secret.manifest.bytes.toString()} `));
  const lists = { mediaType: ociIndex, schemaVersion: 2, manifests: [descriptorOf(secret.manifest)] };
  const index = content(ociIndex, Buffer.from(JSON.stringify(lists)));
  registry.content.add('library/app', 'copied', { manifest: copied, children: [], blobs: [] });
  registry.content.add('library/app', 'index', { manifest: index, children: [], blobs: [] });
  for (const tag of ['copied', 'index']) {
    await pullManifest(app, 'library/app', tag);
    const { status, text } = await look(`/docker.io/library/app:${tag}`);
    expect(status).toBe(200);
    expect(text).not.toContain('<dt><bdi>name</bdi></dt>');
    expect(text).not.toMatch(/<td[^>]*>[^/]*>stored</);
  }
  expect((await look(`/docker.io/library/app@${secret.manifest.digest}`)).status).toBe(404);
  // A client that pulls it gets the public content, and nothing else.
  expect((await ask(app, `/v2/library/app/blobs/${config?.digest}`)).status).toBe(404);
});

test('clients get what they got before, and whatever is no page is an error of the registry', async () => {
  const { app, look } = await start();
  expect((await look('/v2/', 'text/html')).text).toBe('{}');
  await pullManifest(app, 'library/app', '1.0');
  const api = await look('/docker.io/library/app:1.0', 'application/json');
  expect({ status: api.status, code: JSON.parse(api.text).errors[0].code }).toEqual({
    status: 404,
    code: 'NAME_UNKNOWN',
  });
  const posted = await ask(app, '/docker.io/library/app:1.0', { method: 'POST', headers: { accept: 'text/html' } });
  expect(posted.status).toBe(404);
  for (const path of ['/login', '/confirm/purge', '/browse', '/api/v1/stats', '/%3Cscript%3E', '/docker.io/<x>']) {
    const { status, text } = await look(path);
    expect(status).toBe(404);
    expect(text).not.toContain('<script>');
  }
});

test('by default the listener of clients has no pages', async () => {
  const { look } = await start('management');
  for (const path of ['/', '/docker.io/library/app:1.0', '/pages/style.css']) {
    const { status, headers } = await look(path);
    expect({ status, type: headers['content-type'] }).toEqual({ status: 404, type: expect.stringContaining('json') });
  }
});
