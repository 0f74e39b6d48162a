import { describe, expect, test } from 'vitest';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { defaultUpstreamSettings } from '../../../../src/upstream/settings.ts';
import { RequestLimit } from '../../../../src/upstream/transport/connections.ts';
import { createSharedLookup } from '../../../../src/upstream/lookup/shared-lookup.ts';
import { startFakeRegistry } from '../../../support/fake-registry.ts';
import { gate } from '../../../support/gate.ts';
import { image, randomBlob } from '../../../support/images.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { countConnections } from '../count-connections.ts';
import { sendJson, type Server, serve } from '../serve.ts';
import { clientOf, unlimited } from '../start-client.ts';

const repository = parseRepository('team/app');
const latest = parseTag('latest');
const manifest = { 'content-type': 'application/vnd.oci.image.manifest.v1+json' };

test('every request has a User-Agent: Docker Hub answers 403 without one', async () => {
  const registry: Server = await serve(({ url, headers }, response) => {
    if (url.pathname === '/token') return sendJson(response, { token: 'good' });
    const challenge = { 'www-authenticate': `Bearer realm="${registry.url}/token"` };
    if (headers.authorization === undefined) return void response.writeHead(401, challenge).end();
    response.writeHead(200, manifest).end('{"schemaVersion":2}');
  });

  await clientOf(registry.url, { userAgent: 'layerwell/1.2.3' }).client.getManifest(repository, latest, unlimited);

  expect(registry.seen.map(({ headers }) => headers['user-agent'])).toEqual(Array(3).fill('layerwell/1.2.3'));
});

describe('name lookups', () => {
  const here = [{ address: '127.0.0.1', family: 4 }];
  const portOf = (server: Server) => new URL(server.url).port;
  const answering = () => serve((_, response) => void response.writeHead(200, manifest).end('{"schemaVersion":2}'));

  test('a host whose lookup hangs causes one lookup for all its connections, and delays no other host', async () => {
    const port = portOf(await answering());
    const resolved = gate();
    const asked: string[] = [];
    const lookup = createSharedLookup({
      clock: new ManualClock(),
      lookup: async (hostname) => {
        asked.push(hostname);
        if (hostname === 'slow.test') await resolved.opened;
        return here;
      },
    });
    const slow = clientOf(`http://slow.test:${port}`, {}, { lookup }).client;
    const other = clientOf(`http://other.test:${port}`, {}, { lookup }).client;

    const waiting = Array.from({ length: 20 }, () => slow.getManifest(repository, latest, unlimited));

    expect(await other.getManifest(repository, latest, unlimited)).toMatchObject({ digest: expect.any(String) });
    expect(asked).toEqual(['slow.test', 'other.test']);
    resolved.open();
    expect(await Promise.all(waiting)).toHaveLength(20);
    expect(asked).toHaveLength(2);
  });

  test('a cached address of the registry is checked again for a redirect: private addresses stay unreachable', async () => {
    const inside = await countConnections();
    const registry = await serve(
      (_, response) => void response.writeHead(307, { location: `http://registry.test:${inside.port}/` }).end(),
    );
    let lookups = 0;
    const lookup = createSharedLookup({
      clock: new ManualClock(),
      lookup: async () => {
        lookups += 1;
        return here;
      },
    });

    const asked = clientOf(`http://registry.test:${portOf(registry)}`, {}, { lookup }).client;

    await expect(asked.getManifest(repository, latest, unlimited)).rejects.toMatchObject({
      reason: 'misbehaving',
      message: expect.stringContaining('private address'),
    });
    expect({ lookups, connections: inside.connections() }).toEqual({ lookups: 1, connections: 0 });
  });

  test('an upstream that redirects to ever more hosts of a listed pattern, whose lookup hangs, has one looked up at a time', async () => {
    let redirects = 0;
    const registry = await serve((_, response) => {
      redirects += 1;
      response.writeHead(307, { location: `http://host-${redirects}.evil.test/` }).end();
    });
    const asked: string[] = [];
    const lookup = async (hostname: string) => {
      asked.push(hostname);
      if (hostname.endsWith('.evil.test')) await gate().opened;
      return here;
    };
    const settings = { redirectHosts: ['*.evil.test'] };
    const { client } = clientOf(`http://registry.test:${portOf(registry)}`, settings, { lookup });
    const leaving = new AbortController();
    const pulls = Array.from({ length: 5 }, () => client.getManifest(repository, latest, leaving));
    await expect.poll(() => redirects).toBe(5);
    await expect.poll(() => asked.filter((hostname) => hostname !== 'registry.test')).toEqual(['host-1.evil.test']);
    leaving.abort(new Error('left'));
    await Promise.allSettled(pulls);
  });

  test('a host that cannot be resolved fails with an error that names it', async () => {
    const lookup = createSharedLookup({
      clock: new ManualClock(),
      lookup: () => Promise.reject(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' })),
    });

    const asked = clientOf('http://registry.test', {}, { lookup }).client.getManifest(repository, latest, unlimited);

    await expect(asked).rejects.toMatchObject({ reason: 'dns', message: expect.stringContaining('registry.test') });
  });
});

describe('timeouts', () => {
  test('headers that do not arrive in time fail the request', async () => {
    const registry = await startFakeRegistry();
    registry.content.add(repository, latest, image());
    registry.script({}, { holdHeaders: gate() });
    const timeouts = { ...defaultUpstreamSettings.timeouts, headersMs: 50 };

    const asked = clientOf(registry.url, { timeouts }).client.getManifest(repository, latest, unlimited);

    await expect(asked).rejects.toMatchObject({ reason: 'timeout' });
    expect(await registry.requests[0]?.ended).toBe('aborted');
  });

  test('a request that finds all connections in use fails in time with an error that says so', async () => {
    const registry = await startFakeRegistry();
    const blob = randomBlob(1000);
    registry.content.addBlob(repository, blob);
    registry.script({}, { holdBody: { afterBytes: 500, until: gate() } });
    const timeouts = { ...defaultUpstreamSettings.timeouts, connectMs: 100, headersMs: 100 };
    const { client } = clientOf(registry.url, { maxConnections: 1, timeouts });
    await client.openBlob(repository, blob.digest, unlimited);

    const second = client.headBlob(repository, blob.digest, unlimited);

    await expect(second).rejects.toMatchObject({
      reason: 'busy',
      message: expect.stringContaining('all connections are in use'),
    });
    expect(registry.count()).toBe(1);
  });

  test('a kept connection that the registry closes just as it is reused fails no request', async () => {
    let requests = 0;
    const registry = await serve((_, response) => {
      requests += 1;
      if (requests === 2) return void response.socket?.destroy();
      response.writeHead(200, manifest).end('{"schemaVersion":2}');
    });
    const { client, observer } = clientOf(registry.url);
    await client.getManifest(repository, latest, unlimited);

    await client.getManifest(repository, latest, unlimited);

    expect(observer.story).toEqual(['GET manifest 200', 'GET manifest connect', 'GET manifest 200']);
  });

  test('endless headers are cut off', async () => {
    const registry = await serve(
      (_, response) =>
        void response.writeHead(200, { ...manifest, 'x-long': 'x'.repeat(64 * 1024) }).end('{"schemaVersion":2}'),
    );

    const asked = clientOf(registry.url).client.getManifest(repository, latest, unlimited);

    await expect(asked).rejects.toMatchObject({ reason: 'misbehaving' });
  });
});

test('closing drops running requests, and retiring lets them end', async () => {
  const more = gate();
  const registry = await serve((_, response) => {
    response.writeHead(200, { ...manifest, 'content-length': '19' }).write('{');
    void more.opened.then(() => response.end('"schemaVersion":2}'));
  });
  const { client } = clientOf(registry.url);
  const retired = client.getManifest(repository, latest, unlimited);
  const again = clientOf(registry.url);
  const dropped = again.client.getManifest(repository, latest, unlimited);
  while (registry.seen.length < 2) await new Promise(setImmediate);

  const whenRetired = client.retire();
  await again.client.close();
  more.open();

  await expect(dropped).rejects.toMatchObject({ name: 'UpstreamError' });
  expect(await retired).toMatchObject({ mediaType: manifest['content-type'] });
  await whenRetired;
  expect(await client.getManifest(repository, latest, unlimited)).toMatchObject({
    mediaType: manifest['content-type'],
  });
});

test('as many requests to one host may wait as there are connections to it', () => {
  const [one, other] = [new URL('https://one.test/v2/'), new URL('https://other.test/v2/')];
  const limit = new RequestLimit(1);
  const leave = limit.enter(one);
  limit.enter(one);
  expect(() => limit.enter(one)).toThrow(expect.objectContaining({ reason: 'busy' }));
  limit.enter(other);

  leave();
  leave();
  limit.enter(one);
  expect(() => limit.enter(one)).toThrow(expect.objectContaining({ reason: 'busy' }));
});
