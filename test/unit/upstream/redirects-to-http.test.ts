import { once } from 'node:events';
import { createServer } from 'node:https';
import { buffer } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { parseRepository } from '../../../src/oci/reference.ts';
import { freePort } from '../../support/free-port.ts';
import { randomBlob } from '../../support/images.ts';
import { thisTest } from '../../support/owner.ts';
import { selfSigned } from './certificates.ts';
import { robotAccount } from './robot-account.ts';
import { serve } from './serve.ts';
import { clientOf, unlimited } from './start-client.ts';

const repository = parseRepository('team/app');
const blob = randomBlob(1000);

/** A store of blobs elsewhere. */
const startStore = () =>
  serve((_, response) => void response.writeHead(200, { 'content-length': '1000' }).end(blob.bytes));

describe('a redirect from https to http', () => {
  /** A registry over TLS that wants the password, and then sends us to what `location` says. */
  async function startSecure(location: () => string) {
    const { certificate, key } = await selfSigned('registry');
    const port = await freePort();
    const authorizations: (string | undefined)[] = [];
    const server = createServer({ cert: certificate, key }, ({ headers, url }, response) => {
      authorizations.push(headers.authorization);
      if (url === '/elsewhere') return void response.end(blob.bytes);
      if (headers.authorization !== undefined) return void response.writeHead(307, { location: location() }).end();
      response.writeHead(401, { 'www-authenticate': 'Basic realm="registry"' }).end();
    });
    await once(server.listen(port, '127.0.0.1'), 'listening');
    thisTest(async () => server.closeAllConnections());
    return { url: `https://127.0.0.1:${port}`, authorizations };
  }

  const open = (url: string, redirectHosts: readonly string[]) =>
    clientOf(url, { credentials: [robotAccount], redirectHosts, tls: { insecureSkipVerify: true } }).client.openBlob(
      repository,
      blob.digest,
      unlimited,
    );

  test('a blob is fetched from a host that is listed as http://host:port, without the credentials', async () => {
    const store = await startStore();
    const { url } = await startSecure(() => `${store.url}/signed`);

    const { body } = await open(url, [`http://${store.host}`]);

    expect(await buffer(body)).toEqual(blob.bytes);
    expect(store.seen.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  test.each([
    { what: 'without its scheme', listed: (host: string) => host },
    { what: 'with another port', listed: () => 'http://127.0.0.1:1' },
    { what: 'not at all', listed: () => 'other.example' },
  ])('a host that is listed $what gets no request, and the error names the missing entry', async ({ listed }) => {
    const store = await startStore();
    const { url } = await startSecure(() => `${store.url}/signed`);

    await expect(open(url, [listed(store.host)])).rejects.toMatchObject({
      reason: 'misbehaving',
      message: expect.stringContaining(`"http://${store.host}"`),
    });
    expect(store.seen).toHaveLength(0);
  });

  test('a listed host may not redirect further by http, and a redirect back to the registry carries no credentials', async () => {
    const further = await startStore();
    let leadsTo = further.url;
    const store = await serve((_, response) => void response.writeHead(307, { location: leadsTo }).end());
    const { url, authorizations } = await startSecure(() => store.url);

    await expect(open(url, [`http://${store.host}`])).rejects.toMatchObject({ reason: 'misbehaving' });
    expect(further.seen).toHaveLength(0);
    leadsTo = `${url}/elsewhere`;
    await open(url, [`http://${store.host}`]);
    expect(authorizations.at(-1)).toBeUndefined();
  });
});
