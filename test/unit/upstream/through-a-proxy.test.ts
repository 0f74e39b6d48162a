import { expect, test } from 'vitest';
import { parseRepository, parseTag } from '../../../src/oci/reference.ts';
import { startFakeRegistry } from '../../support/fake-registry.ts';
import { image } from '../../support/images.ts';
import { selfSigned } from './certificates.ts';
import { serve } from './serve.ts';
import { serveTls } from './serve-tls.ts';
import { startProxy } from './start-proxy.ts';
import { clientOf, unlimited } from './start-client.ts';

const repository = parseRepository('team/app');
const latest = parseTag('latest');

test('a registry is reached through the proxy, by its name', async () => {
  const proxy = await startProxy();
  const settings = { proxy: { http: proxy.url, except: [] } };

  const { client } = clientOf('http://registry.corp.example', settings);
  await client.getManifest(repository, latest, unlimited);
  await expect.poll(() => client.connectionUse()).toEqual({ busy: 0, idle: 1, waiting: 0 });

  expect(proxy.asked).toEqual(['GET http://registry.corp.example/v2/team/app/manifests/latest']);
});

test('https goes through a tunnel, in which the certificate is verified', async () => {
  const { certificate, key } = await selfSigned('registry');
  const url = await serveTls({ cert: certificate, key });
  const proxy = await startProxy();
  const settings = { proxy: { https: proxy.url, except: [] } };

  const distrustful = clientOf(url, settings).client.getManifest(repository, latest, unlimited);
  await expect(distrustful).rejects.toMatchObject({ reason: 'tls' });
  const tls = { insecureSkipVerify: false, ca: certificate };
  const { client } = clientOf(url, { ...settings, tls });
  await client.getManifest(repository, latest, unlimited);
  await expect.poll(() => client.connectionUse()).toEqual({ busy: 0, idle: 1, waiting: 0 });

  expect(proxy.asked).toEqual([`CONNECT ${new URL(url).host}`, `CONNECT ${new URL(url).host}`]);
});

test("the proxy's name is resolved as usual, and the name of the registry never", async () => {
  const proxy = await startProxy();
  const names: string[] = [];
  const lookup = async (hostname: string) => {
    names.push(hostname);
    return [{ address: '127.0.0.1', family: 4 }];
  };
  const url = proxy.url.replace('127.0.0.1', 'proxy.corp.example');
  const settings = { proxy: { http: url, except: [] } };

  await clientOf('http://registry.corp.example', settings, { lookup }).client.getManifest(
    repository,
    latest,
    unlimited,
  );

  expect(names).toEqual(['proxy.corp.example']);
});

test('exceptions are reached directly', async () => {
  const registry = await startFakeRegistry();
  registry.content.add(repository, latest, image());
  const proxy = await startProxy();
  const settings = { proxy: { http: proxy.url, except: ['127.0.0.0/8'] } };

  await clientOf(registry.url, settings).client.getManifest(repository, latest, unlimited);

  expect(proxy.asked).toEqual([]);
});

test('redirects lead to listed hosts only, because the addresses of others are not visible', async () => {
  const proxy = await startProxy();
  const registry = await serve(
    (_, response) => void response.writeHead(307, { location: 'http://cdn.example/blob' }).end(),
  );
  const settings = { proxy: { http: proxy.url, except: ['127.0.0.1'] } };

  const refused = clientOf(registry.url, settings).client.getManifest(repository, latest, unlimited);
  await expect(refused).rejects.toMatchObject({
    reason: 'misbehaving',
    message: expect.stringContaining('redirectHosts'),
  });
  expect(proxy.asked).toEqual([]);

  await clientOf(registry.url, { ...settings, redirectHosts: ['cdn.example'] }).client.getManifest(
    repository,
    latest,
    unlimited,
  );
  expect(proxy.asked).toEqual(['GET http://cdn.example/blob']);
});

test("the proxy's password does not appear in an error", async () => {
  const settings = {
    proxy: { http: 'http://user:s3cr3t@127.0.0.1:9', https: 'http://user:s3cr3t@127.0.0.1:9', except: [] },
  };
  for (const url of ['http://registry.corp.example', 'https://registry.corp.example']) {
    const failure: unknown = await clientOf(url, settings)
      .client.getManifest(repository, latest, unlimited)
      .catch((error: unknown) => error);

    expect(failure).toMatchObject({ reason: 'connect' });
    expect(everythingIn(failure)).not.toContain('s3cr3t');
  }
});

function everythingIn(error: unknown): string {
  const parts: string[] = [];
  for (let one: unknown = error; one instanceof Error; one = one.cause) {
    parts.push(one.stack ?? '', JSON.stringify(one, Object.getOwnPropertyNames(one)));
  }
  return parts.join('\n');
}
