import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:https';
import { describe, expect, test } from 'vitest';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { connectOptionsOf } from '../../../../src/upstream/transport/connections.ts';
import { defaultUpstreamSettings } from '../../../../src/upstream/settings.ts';
import { freePort } from '../../../support/free-port.ts';
import { thisTest } from '../../../support/owner.ts';
import { selfSigned } from '../certificates.ts';
import { serveTls } from '../serve-tls.ts';
import { clientOf, unlimited } from '../start-client.ts';

const repository = parseRepository('team/app');
const latest = parseTag('latest');

describe('TLS', () => {
  test('a certificate of an unknown authority is not trusted', async () => {
    const { certificate, key } = await selfSigned('registry');
    const url = await serveTls({ cert: certificate, key });

    const asked = clientOf(url).client.getManifest(repository, latest, unlimited);

    await expect(asked).rejects.toMatchObject({
      reason: 'tls',
      message: expect.stringContaining('could not be trusted'),
    });
  });

  test('a configured authority is trusted, and verification can be turned off', async () => {
    const { certificate, key } = await selfSigned('registry');
    const url = await serveTls({ cert: certificate, key });

    for (const tls of [{ insecureSkipVerify: false, ca: certificate }, { insecureSkipVerify: true }]) {
      expect(await clientOf(url, { tls }).client.getManifest(repository, latest, unlimited)).toMatchObject({
        digest: expect.any(String),
      });
    }
  });

  test.each([
    {
      route: { hasIdentity: true, isKnown: true, isChecked: false, isExact: true },
      verified: false,
      identified: true,
      checked: false,
    },
    {
      route: { hasIdentity: false, isKnown: true, isChecked: false, isExact: true },
      verified: false,
      identified: false,
      checked: false,
    },
    {
      route: { hasIdentity: false, isKnown: false, isChecked: true, isExact: false },
      verified: true,
      identified: false,
      checked: true,
    },
  ])('disabled verification and the client certificate apply to $route: $verified, $identified', (expected) => {
    const tls = { insecureSkipVerify: true, certificate: 'c', key: 'k' };
    const lookups = { any: () => {}, limited: () => {}, checked: () => {} };

    const options = connectOptionsOf(
      { ...expected.route, proxy: undefined },
      { ...defaultUpstreamSettings, tls },
      lookups,
    );

    expect(options.rejectUnauthorized).toBe(expected.verified);
    expect('cert' in options).toBe(expected.identified);
    expect(options.lookup).toBe(expected.checked ? lookups.checked : lookups.any);
  });

  test('a certificate trusted for one upstream is not trusted for another at the same address', async () => {
    const { certificate, key } = await selfSigned('registry');
    const url = await serveTls({ cert: certificate, key });
    const trusting = clientOf(url, { tls: { insecureSkipVerify: false, ca: certificate } });
    const ask = ({ client }: typeof trusting) => client.getManifest(repository, latest, unlimited);
    await ask(trusting);
    await ask(trusting);

    await expect(ask(clientOf(url))).rejects.toMatchObject({ reason: 'tls' });
    await expect(
      ask(clientOf(url, { tls: { insecureSkipVerify: false, ca: (await selfSigned('x')).certificate } })),
    ).rejects.toMatchObject({ reason: 'tls' });
  });

  test('the client certificate is sent to the registry, and not to the hosts it redirects to', async () => {
    const [server, client] = [await selfSigned('registry'), await selfSigned('mirror')];
    const names: string[] = [];
    const options = { cert: server.certificate, key: server.key, requestCert: true, rejectUnauthorized: false };
    const elsewhere = await serveTls(options, (request) => names.push(`elsewhere ${subjectOf(request)}`));
    const port = await freePort();
    const registry = createServer(options, (request, response) => {
      names.push(`registry ${subjectOf(request)}`);
      response.writeHead(307, { location: elsewhere }).end();
    });
    await once(registry.listen(port, '127.0.0.1'), 'listening');
    thisTest(async () => registry.closeAllConnections());
    const tls = { insecureSkipVerify: true, certificate: client.certificate, key: client.key };
    const settings = { tls, redirectHosts: [new URL(elsewhere).host] };

    await clientOf(`https://127.0.0.1:${port}`, settings).client.getManifest(repository, latest, unlimited);

    expect(names).toEqual(['registry mirror', 'elsewhere nobody']);
  });
});

function subjectOf(request: IncomingMessage): string {
  const { socket } = request;
  const certificate: unknown =
    'getPeerCertificate' in socket && typeof socket.getPeerCertificate === 'function'
      ? socket.getPeerCertificate()
      : {};
  return /"CN":"(\w+)"/.exec(JSON.stringify(certificate))?.[1] ?? 'nobody';
}
