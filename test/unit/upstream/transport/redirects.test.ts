import type { ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { ociManifest } from '../../../../src/oci/media-types.ts';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { startFakeRegistry } from '../../../support/fake-registry.ts';
import { randomBlob } from '../../../support/images.ts';
import { countConnections } from '../count-connections.ts';
import { robotAccount } from '../robot-account.ts';
import { type Seen, sendJson, type Server, serve } from '../serve.ts';
import { clientOf, unlimited } from '../start-client.ts';

const repository = parseRepository('team/app');
const latest = parseTag('latest');
const blob = randomBlob(1000);

/** A store of blobs elsewhere. */
async function startStore(): Promise<Server> {
  return serve((_, response) => void response.writeHead(200, { 'content-length': '1000' }).end(blob.bytes));
}

/** A registry that wants the password, and then sends us to `location`. */
async function startRedirecting(location: (seen: Seen) => string, status = 307): Promise<Server> {
  return serve((seen, response) => {
    if (seen.headers.authorization === undefined) {
      return void response.writeHead(401, { 'www-authenticate': 'Basic realm="registry"' }).end();
    }
    response.writeHead(status, { location: location(seen) }).end();
  });
}

const headersThatMayLeave = ['accept-encoding', 'connection', 'host', 'range', 'user-agent'];

test.each([301, 302, 303, 307, 308])(
  'a blob behind a %i is fetched from its target, with the range and without the credentials',
  async (status) => {
    const store = await startStore();
    const registry = await startRedirecting(() => `${store.url}/signed?signature=abc%2Fdef`, status);
    const { client } = clientOf(registry.url, { credentials: [robotAccount], redirectHosts: [store.host] });

    const { body } = await client.openBlob(repository, blob.digest, { ...unlimited, range: { start: 0 } });

    expect(await buffer(body)).toEqual(blob.bytes);
    const [seen] = store.seen;
    expect(`${seen?.url.pathname}${seen?.url.search}`).toBe('/signed?signature=abc%2Fdef');
    expect(seen?.headers.range).toBe('bytes=0-');
    expect(Object.keys(seen?.headers ?? {}).filter((name) => !headersThatMayLeave.includes(name))).toEqual([]);
  },
);

test('a redirect target that asks for credentials gets none', async () => {
  const evil = await serve(
    (_, response) => void response.writeHead(401, { 'www-authenticate': 'Basic realm="give"' }).end(),
  );
  const registry = await startRedirecting(() => `${evil.url}/blob`);
  const { client } = clientOf(registry.url, { credentials: [robotAccount], redirectHosts: [evil.host] });

  const opened = client.openBlob(repository, blob.digest, unlimited);

  await expect(opened).rejects.toMatchObject({ name: 'UpstreamError', reason: 'refused' });
  expect(evil.seen.map(({ headers }) => headers.authorization)).toEqual([undefined]);
});

test('a redirect target may want an anonymous token, which is requested once', async () => {
  const elsewhere = await serve(({ url, headers }, response) => {
    if (url.pathname === '/token') return sendJson(response, { token: 'guest' });
    if (headers.authorization === 'Bearer guest') return sendManifest(response);
    response.writeHead(401, { 'www-authenticate': `Bearer realm="${elsewhere.url}/token",service="elsewhere"` }).end();
  });
  const registry = await startRedirecting(() => `${elsewhere.url}/v2/moved/manifests/latest`);
  const { client } = clientOf(registry.url, { credentials: [robotAccount], redirectHosts: [elsewhere.host] });

  await client.getManifest(repository, latest, unlimited);
  await client.getManifest(repository, latest, unlimited);

  const manifest = 'GET /v2/moved/manifests/latest';
  expect(elsewhere.story()).toEqual([manifest, 'GET /token', manifest, manifest, manifest]);
  expect(elsewhere.seen[1]?.headers.authorization).toBeUndefined();
  expect(elsewhere.seen[1]?.url.searchParams.get('scope')).toBe('repository:moved:pull');
  expect(registry.seen.at(-1)?.headers.authorization).toMatch(/^Basic /);
});

test('a redirect target that rejects its own token is asked for another one, once', async () => {
  let given = 0;
  let valid = 1;
  const elsewhere = await serve(({ url, headers }, response) => {
    if (url.pathname === '/token') return sendJson(response, { token: `guest-${(given += 1)}` });
    if (headers.authorization === `Bearer guest-${valid}`) return sendManifest(response);
    response.writeHead(401, { 'www-authenticate': `Bearer realm="${elsewhere.url}/token",service="elsewhere"` }).end();
  });
  const registry = await startRedirecting(() => `${elsewhere.url}/v2/moved/manifests/latest`);
  const { client } = clientOf(registry.url, { credentials: [robotAccount], redirectHosts: [elsewhere.host] });

  await client.getManifest(repository, latest, unlimited);
  valid = 2;
  await client.getManifest(repository, latest, unlimited);
  expect(given).toBe(2);
  valid = 4;
  await expect(client.getManifest(repository, latest, unlimited)).rejects.toMatchObject({ code: 'DENIED' });
  expect(given).toBe(3);
});

test('a signed URL that is rejected says nothing about the repository; a manifest that is rejected on another host is denied', async () => {
  const elsewhere = await serve((_, response) => void response.writeHead(403).end());
  const registry = await serve((_, response) => void response.writeHead(307, { location: elsewhere.url }).end());
  const { client } = clientOf(registry.url, { redirectHosts: [elsewhere.host] });

  const opened = client.openBlob(repository, blob.digest, unlimited);
  const fetched = client.getManifest(repository, latest, unlimited);

  await expect(opened).rejects.toMatchObject({ name: 'UpstreamError', reason: 'refused', upstreamStatus: 403 });
  await expect(fetched).rejects.toMatchObject({ name: 'OciError', code: 'DENIED' });
});

test('a redirect within the registry keeps the credentials, also when it is relative', async () => {
  const registry: Server = await serve(({ url, headers }, response) => {
    if (headers.authorization === undefined) {
      return void response.writeHead(401, { 'www-authenticate': 'Basic realm="registry"' }).end();
    }
    if (url.pathname.startsWith('/artifacts-downloads/')) return void response.end(blob.bytes);
    response.writeHead(302, { location: '/artifacts-downloads/namespaces/x?token=y' }).end();
  });
  const { client } = clientOf(registry.url, { credentials: [robotAccount] });

  const { body } = await client.openBlob(repository, blob.digest, unlimited);

  expect(await buffer(body)).toEqual(blob.bytes);
});

test('five redirects are followed, and not a sixth', async () => {
  const hops = (count: number) =>
    serve(({ url }, response) => {
      const hop = Number(url.searchParams.get('hop'));
      if (hop === count) return void response.end(blob.bytes);
      response.writeHead(307, { location: `?hop=${hop + 1}` }).end();
    });
  const [five, six] = [await hops(5), await hops(6)];

  const { body } = await clientOf(five.url).client.openBlob(repository, blob.digest, unlimited);
  const refused = clientOf(six.url).client.openBlob(repository, blob.digest, unlimited);

  expect(await buffer(body)).toEqual(blob.bytes);
  await expect(refused).rejects.toMatchObject({
    reason: 'misbehaving',
    message: expect.stringContaining('more than 5 times'),
  });
  expect(six.seen).toHaveLength(6);
});

test.each([
  { what: 'without a Location', location: {}, says: 'without a valid Location' },
  { what: 'to no URL', location: { location: 'http://' }, says: 'without a valid Location' },
  { what: 'out of the web', location: { location: 'file:///etc/passwd' }, says: 'to file:' },
  {
    what: 'to a URL with a password in it',
    location: { location: 'http://user:pass@127.0.0.1/' },
    says: 'credentials',
  },
])('a redirect $what is rejected', async ({ location, says }) => {
  const registry = await serve((_, response) => void response.writeHead(307, location).end());

  const opened = clientOf(registry.url).client.openBlob(repository, blob.digest, unlimited);

  await expect(opened).rejects.toMatchObject({ reason: 'misbehaving', message: expect.stringContaining(says) });
  expect(registry.seen).toHaveLength(1);
});

test.each(['127.0.0.1', '0.0.0.0', '[::]', '[::1]', '[::ffff:7f00:1]', '2130706433', '0x7f.1', 'localhost'])(
  'a redirect to %s is not followed',
  async (host) => {
    const inside = await countConnections();
    const registry = await serve(
      (_, response) => void response.writeHead(307, { location: `http://${host}:${inside.port}/` }).end(),
    );

    const opened = clientOf(registry.url).client.openBlob(repository, blob.digest, unlimited);

    await expect(opened).rejects.toMatchObject({
      reason: 'misbehaving',
      message: expect.stringContaining('private address'),
    });
    expect(inside.connections()).toBe(0);
  },
);

test('a redirect to a name that resolves to no public address is not followed', async () => {
  const inside = await countConnections();
  const registry = await serve(
    (_, response) => void response.writeHead(307, { location: `http://localhost.:${inside.port}/` }).end(),
  );

  await expect(clientOf(registry.url).client.openBlob(repository, blob.digest, unlimited)).rejects.toMatchObject({
    reason: expect.any(String),
  });

  expect(inside.connections()).toBe(0);
});

test('an error never contains the signature of a redirect', async () => {
  const registry = await startRedirecting(() => 'http://127.0.0.1:1/blob?X-Amz-Signature=topsecret');
  const { client } = clientOf(registry.url, { credentials: [robotAccount], redirectHosts: ['127.0.0.1:1'] });

  const failure: unknown = await client.openBlob(repository, blob.digest, unlimited).catch((error: unknown) => error);

  expect(failure).toMatchObject({ reason: 'connect', message: '127.0.0.1:1 could not be reached (ECONNREFUSED)' });
  expect(JSON.stringify(failure, Object.getOwnPropertyNames(failure))).not.toContain('topsecret');
});

test('the observer counts every hop', async () => {
  const store = await startStore();
  const registry = await startFakeRegistry();
  registry.content.addBlob(repository, blob);
  registry.script({}, { redirectTo: () => store.url });
  const { client, observer } = clientOf(registry.url, { redirectHosts: [store.host] });

  await client.openBlob(repository, blob.digest, unlimited);

  expect(observer.story).toEqual(['GET blob 307', 'GET blob 200']);
});

function sendManifest(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': ociManifest }).end('{"schemaVersion":2}');
}

test('a redirect to a host name that is too long has no valid Location, and its name is not repeated', async () => {
  const registry = await serve(
    (_, response) => void response.writeHead(307, { location: `https://${'a.'.repeat(5_000)}test/` }).end(),
  );
  const failure: unknown = await clientOf(registry.url)
    .client.getManifest(repository, latest, unlimited)
    .catch((cause: unknown) => cause);
  expect(failure).toMatchObject({
    reason: 'misbehaving',
    message: `${registry.host} redirects without a valid Location`,
  });
});
