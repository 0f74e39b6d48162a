import { expect, test } from 'vitest';
import { createProxyChoice } from '../../../../src/upstream/transport/proxy.ts';

const proxies = { http: 'http://plain.proxy:3128', https: 'http://tls.proxy:3128' };

test('each scheme has its own proxy, or none', () => {
  expect(createProxyChoice({ ...proxies, except: [] })(new URL('https://ghcr.io/'))).toBe(proxies.https);
  expect(createProxyChoice({ ...proxies, except: [] })(new URL('http://ghcr.io/'))).toBe(proxies.http);
  expect(createProxyChoice({ http: proxies.http, except: [] })(new URL('https://ghcr.io/'))).toBeUndefined();
});

test.each([
  { entry: 'ghcr.io', url: 'https://ghcr.io/', direct: true },
  { entry: ' GHCR.io ', url: 'https://ghcr.io/', direct: true },
  { entry: 'corp.example', url: 'https://registry.corp.example/', direct: true },
  { entry: '.corp.example', url: 'https://registry.corp.example/', direct: true },
  { entry: '*.corp.example', url: 'https://registry.corp.example/', direct: true },
  { entry: 'corp.example', url: 'https://evilcorp.example/', direct: false },
  { entry: 'corp.example:5000', url: 'https://registry.corp.example:5000/', direct: true },
  { entry: 'corp.example:5000', url: 'https://registry.corp.example/', direct: false },
  { entry: 'corp.example:443', url: 'https://registry.corp.example/', direct: true },
  { entry: '10.0.0.0/8', url: 'https://10.1.2.3/', direct: true },
  { entry: '10.0.0.0/8', url: 'https://11.1.2.3/', direct: false },
  { entry: '10.0.0.0/8', url: 'https://[::ffff:10.1.2.3]/', direct: true },
  { entry: '10.1.2.3', url: 'https://10.1.2.3:5000/', direct: true },
  { entry: '10.1.2.3', url: 'https://[::ffff:a01:203]/', direct: true },
  { entry: '10.1.2.3:5000', url: 'https://10.1.2.3/', direct: false },
  { entry: '10.1.2.3:5000', url: 'https://10.1.2.3:5000/', direct: true },
  { entry: 'fd00::/8', url: 'https://[fd00::1]/', direct: true },
  { entry: '::1', url: 'http://[::1]:5000/', direct: true },
  { entry: '[::1]:5000', url: 'http://[::1]:5000/', direct: true },
  { entry: '[::1]:5000', url: 'http://[::1]:5001/', direct: false },
  { entry: '10.0.0.0/99', url: 'https://10.0.0.0/', direct: true },
  { entry: 'not/a/block', url: 'https://ghcr.io/', direct: false },
  { entry: '', url: 'https://ghcr.io/', direct: false },
  { entry: '*', url: 'https://ghcr.io/', direct: true },
])('with the exception "$entry", $url is reached directly: $direct', ({ entry, url, direct }) => {
  const proxyOf = createProxyChoice({ ...proxies, except: ['other.example', entry] });

  expect(proxyOf(new URL(url)) === undefined).toBe(direct);
});
