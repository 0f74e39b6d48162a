import { expect, test } from 'vitest';
import { createProxyChoice } from '../../../../src/upstream/transport/proxy.ts';
import { configOf, problemsWith } from '../../../support/config.ts';

const env = {
  HTTPS_PROXY: 'http://proxy.example:3128',
  HTTP_PROXY: 'http://plain.example:3128',
  NO_PROXY: 'lan, .corp',
};

async function proxyOf(own: object, surroundings: { env: Record<string, string> } = { env }) {
  const { upstreams } = await configOf({ upstreams: { 'ghcr.io': { proxy: own } } }, surroundings);
  const choice = createProxyChoice(upstreams[0]!.proxy);
  return (url: string) => choice(new URL(url));
}

test('an upstream without a proxy uses those of the environment', async () => {
  const through = await proxyOf({});
  expect(through('https://ghcr.io/v2/')).toBe('http://proxy.example:3128');
  expect(through('http://ghcr.io/v2/')).toBe('http://plain.example:3128');
});

test.each([
  'https://lan/',
  'https://a.corp/',
  'http://localhost:5000/',
  'http://127.0.0.1:5000/',
  'http://[::1]:5000/',
])('NO_PROXY and this machine are reached without a proxy: %s', async (url) => {
  expect((await proxyOf({}))(url)).toBeUndefined();
});

test("hosts in an upstream's except are reached without the proxy of the environment too", async () => {
  const through = await proxyOf({ except: ['ghcr.io'] });
  expect(through('https://ghcr.io/')).toBeUndefined();
  expect(through('https://cdn.example/')).toBe('http://proxy.example:3128');
  expect((await proxyOf({ except: ['*'] }))('https://cdn.example/')).toBeUndefined();
});

test('an upstream with its own proxy ignores the environment', async () => {
  const through = await proxyOf({ https: 'http://own.example:1' });
  expect(through('https://lan/')).toBe('http://own.example:1');
  expect(through('http://ghcr.io/')).toBeUndefined();
});

test('lower-case variables beat upper-case ones; empty ones are ignored', async () => {
  const through = await proxyOf({}, { env: { ...env, https_proxy: 'http://small.example', HTTP_PROXY: '' } });
  expect(through('https://ghcr.io/')).toBe('http://small.example');
  expect(through('http://ghcr.io/')).toBeUndefined();
});

test('a proxy without a scheme is an HTTP proxy', async () => {
  expect((await proxyOf({}, { env: { HTTPS_PROXY: 'proxy.example:3128' } }))('https://ghcr.io/')).toBe(
    'http://proxy.example:3128',
  );
});

test.each(['socks5://proxy.example:1080', 'http://', 'a b'])(
  'an invalid proxy (%s) is rejected and not ignored, and the error does not quote it: it may contain a password',
  async (text) => {
    const problems = await problemsWith({ upstreams: { 'ghcr.io': {} } }, { env: { HTTPS_PROXY: text } });
    expect(problems).toEqual([
      'the environment variable HTTPS_PROXY: expected the URL of an HTTP proxy such as "http://proxy.example.com:3128"',
    ]);
  },
);
