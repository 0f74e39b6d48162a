import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createServer as createRawServer } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ociManifest } from '../../src/oci/media-types.ts';
import { type Decoy, startDecoy, wireAnswer } from '../support/decoy.ts';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { freePort } from '../support/free-port.ts';
import { image, randomBlob } from '../support/images.ts';
import { thisTest } from '../support/owner.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { selfSigned } from '../unit/upstream/certificates.ts';

const account = { username: 'canary-user', password: 'canary-password' };
const secrets = [account.username, account.password, Buffer.from(Object.values(account).join(':')).toString('base64')];
const layer = randomBlob(1_000);
const tag = '/v2/evil.test/team/app/manifests/1';
const blob = `/v2/evil.test/team/app/blobs/${layer.digest}`;
const tags = '/v2/evil.test/team/app/tags/list';

interface Attack {
  readonly what: string;
  /** What clients ask, and what they are told. */
  readonly asks: readonly (readonly [path: string, status: number])[];
  readonly scheme?: 'https';
  /** Part of the upstream's entry. A listed host makes no other host trusted. */
  readonly entry?: (decoy: Decoy) => object;
  /** How often the decoy may be called; absent: never. It may never receive a secret. */
  readonly mayCall?: number;
  /** Whether the registry asks for the password first, and does its worst once it has it. */
  readonly afterLogin?: boolean;
  readonly does: (exchange: Exchange) => void;
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The URL of the hostile registry. */
  readonly url: string;
  readonly decoy: Decoy;
}

const challenged = (realmOf: (exchange: Exchange) => string) => (exchange: Exchange) =>
  void exchange.response
    .writeHead(401, { 'www-authenticate': `Bearer realm="${realmOf(exchange)}",service="s"` })
    .end();

const redirecting = (locationOf: (exchange: Exchange) => string) => (exchange: Exchange) =>
  void exchange.response.writeHead(307, { location: locationOf(exchange) }).end();

function sendManifest(response: ServerResponse, value: object = {}, headers: Record<string, string> = {}): void {
  response.writeHead(200, { 'content-type': ociManifest, ...headers }).end(JSON.stringify(value));
}

const attacks: readonly Attack[] = [
  {
    what: 'a token realm on a foreign host',
    asks: [[tag, 502]],
    does: challenged(({ decoy }) => `http://localhost:${decoy.port}/token`),
  },
  {
    what: 'a token realm on another port of loopback',
    asks: [[tag, 502]],
    entry: ({ host }) => ({ redirectHosts: [host] }),
    does: challenged(({ decoy }) => `http://${decoy.host}/token`),
  },
  {
    what: 'a token realm over http, of a registry over https',
    asks: [[tag, 502]],
    scheme: 'https',
    entry: ({ host }) => ({ realmHosts: [host] }),
    does: challenged(({ decoy }) => `http://${decoy.host}/token`),
  },
  {
    what: 'a redirect to 169.254.169.254',
    asks: [
      [blob, 502],
      [tag, 502],
    ],
    afterLogin: true,
    does: redirecting(() => 'http://169.254.169.254/latest/meta-data/'),
  },
  {
    what: 'a redirect to [::ffff:127.0.0.1]',
    asks: [
      [blob, 502],
      [tag, 502],
    ],
    afterLogin: true,
    does: redirecting(({ decoy }) => `http://[::ffff:127.0.0.1]:${decoy.port}/`),
  },
  {
    what: 'a redirect to a name that resolves to a private address',
    asks: [
      [blob, 502],
      [tag, 502],
    ],
    afterLogin: true,
    does: redirecting(({ decoy }) => `http://localhost:${decoy.port}/`),
  },
  {
    what: 'a redirect to itself for ever',
    asks: [
      [blob, 502],
      [tag, 502],
    ],
    afterLogin: true,
    does: redirecting(({ request, url }) => `${url}${request.url}`),
  },
  {
    what: 'a redirect to a target that answers 401',
    asks: [
      [blob, 502],
      [tag, 403],
    ],
    entry: ({ host }) => ({ redirectHosts: [host] }),
    mayCall: 10,
    afterLogin: true,
    does: redirecting(({ decoy }) => `http://${decoy.host}/`),
  },
  {
    what: 'a manifest whose layer lies elsewhere, by its urls',
    asks: [
      [tag, 200],
      [blob, 404],
    ],
    afterLogin: true,
    does: ({ request, response, decoy }) => {
      if (!request.url?.includes('/manifests/')) return void response.writeHead(404).end();
      const { digest } = layer;
      const mediaType = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
      sendManifest(response, { layers: [{ mediaType, digest, size: 1_000, urls: [`http://${decoy.host}/`] }] });
    },
  },
  {
    what: 'a Link to another host',
    asks: [[tags, 502]],
    entry: ({ host }) => ({ redirectHosts: [host], realmHosts: [host] }),
    afterLogin: true,
    does: ({ response, decoy }) => {
      const link = `<http://${decoy.host}/v2/team/app/tags/list?last=a>; rel="next"`;
      response.writeHead(200, { 'content-type': 'application/json', link }).end('{"tags":["a"]}');
    },
  },
  {
    what: 'a token of 10 MB',
    asks: [[tag, 502]],
    does: (exchange) => {
      if (!exchange.request.url?.startsWith('/token')) return challenged(({ url }) => `${url}/token`)(exchange);
      exchange.response.writeHead(200, { 'content-type': 'application/json' });
      exchange.response.end(JSON.stringify({ token: 't'.repeat(10_000_000) }));
    },
  },
  {
    what: '2,000 headers',
    asks: [[tag, 200]],
    does: ({ response }) => sendManifest(response, { schemaVersion: 2 }, manyHeaders('v')),
  },
  {
    what: '2,000 long headers',
    asks: [[tag, 502]],
    does: ({ response }) => sendManifest(response, {}, manyHeaders('v'.repeat(100))),
  },
];

function manyHeaders(value: string): Record<string, string> {
  return Object.fromEntries(Array.from({ length: 2_000 }, (_, nth) => [`x-${nth}`, value]));
}

test.each(attacks)('$what is harmless', async (attack) => {
  const decoy = await startDecoy((port) =>
    wireAnswer('401 Unauthorized', { 'www-authenticate': `Bearer realm="http://127.0.0.1:${port}/token"` }, '{}'),
  );
  const { entry, requests } = await startHostile(attack, decoy);
  const app = await startBeside(entry);

  for (const [path, status] of attack.asks) {
    requests.length = 0;
    const answer = await ask(app, path);
    expect({ path, status: answer.status }).toEqual({ path, status });
    expect(Object.keys(answer.headers).length).toBeLessThan(30);
    expect(requests.length).toBeLessThan(10);
  }

  expect(decoy.connections()).toBeLessThanOrEqual(attack.mayCall ?? 0);
  for (const secret of secrets) expect(decoy.heard()).not.toContain(secret);
  expect(decoy.heard().toLowerCase()).not.toContain('authorization');
  const taken = (await app.metrics()).sum('layerwell_upstream_response_bytes_total', { upstream: 'evil.test' });
  expect(taken).toBeLessThan(1_000_000);
  await expectSoundness(app);
});

test('an unrequested second response is not used to answer the next request', async () => {
  const [first, second] = ['first', 'second'].map((name) =>
    JSON.stringify({ schemaVersion: 2, annotations: { name } }),
  );
  const sent = (body = '') => wireAnswer('200 OK', { 'content-type': ociManifest }, body);
  const port = await freePort();
  const upstream = createRawServer((socket) => {
    socket.on('error', () => {});
    socket.setEncoding('latin1').on('data', (request: string) => {
      const isFirst = request.includes('/manifests/1');
      socket.write(isFirst ? sent(first) + sent('{"schemaVersion":2,"annotations":{"name":"second"}}') : sent(second));
    });
  });
  await once(upstream.listen(port, '127.0.0.1'), 'listening');
  thisTest(async () => void upstream.close());
  const app = await startBeside({ url: `http://127.0.0.1:${port}` });

  const answers = [];
  for (const name of ['1', '2', '3']) answers.push(await ask(app, `/v2/evil.test/team/app/manifests/${name}`));

  expect(answers.map(({ body }) => body.toString())).toEqual([first, second, second]);
  await expectSoundness(app);
});

/** The hostile registry. It asks for the password first if told to, and records its requests. */
async function startHostile(attack: Attack, decoy: Decoy) {
  const port = await freePort();
  const url = `${attack.scheme ?? 'http'}://127.0.0.1:${port}`;
  const requests: IncomingMessage[] = [];
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    requests.push(request);
    const isAnonymous = request.headers.authorization === undefined;
    if (attack.afterLogin && isAnonymous) return void response.writeHead(401, { 'www-authenticate': 'Basic' }).end();
    attack.does({ request, response, url, decoy });
  };
  const { certificate, key } = await selfSigned('attack');
  const server =
    attack.scheme === 'https' ? createHttpsServer({ cert: certificate, key }, answer) : createHttpServer(answer);
  await once(server.listen(port, '127.0.0.1'), 'listening');
  thisTest(async () => {
    server.close();
    server.closeAllConnections();
  });
  const caFile = join(await temporaryDirectory(), 'ca.pem');
  await writeFile(caFile, certificate);
  const trust = attack.scheme === 'https' ? { tls: { caFile } } : {};
  return { requests, entry: { url, ...trust, ...attack.entry?.(decoy) } };
}

/** A mirror with an account at the hostile registry, and an honest registry beside it. */
async function startBeside(entry: object): Promise<RunningApp> {
  const decent = await startFakeRegistry();
  decent.content.add('team/app', '1', image());
  const credentials = [{ kind: 'basic', ...account }];
  const attack = { ...entry, credentials, visibility: 'service', allowAnonymous: true };
  return startAppInMemory({ upstreams: { 'decent.test': { url: decent.url }, 'evil.test': attack } });
}

/** The mirror still serves, and has sent its credentials to no other host. */
async function expectSoundness(app: RunningApp): Promise<void> {
  expect((await ask(app, '/v2/team/app/manifests/1')).status).toBe(200);
  const metrics = await (await fetch(`${app.managementUrl}/metrics`)).text();
  const told = JSON.stringify(app.logLines) + metrics;
  for (const secret of secrets) expect(told).not.toContain(secret);
}
