import { expect, test } from 'vitest';
import { isTrustedRealm } from '../../../../src/upstream/credentials/realm-trust.ts';

test.each([
  {
    what: 'Docker Hub',
    registry: 'https://registry-1.docker.io',
    realm: 'https://auth.docker.io/token',
    expected: true,
  },
  { what: 'GitLab', registry: 'https://registry.gitlab.com', realm: 'https://gitlab.com/jwt/auth', expected: true },
  { what: 'the same host', registry: 'https://ghcr.io', realm: 'https://ghcr.io/token', expected: true },
  {
    what: 'a port of the same name',
    registry: 'https://git.corp.example:5050',
    realm: 'https://git.corp.example/jwt/auth',
    expected: true,
  },
  {
    what: 'another domain',
    registry: 'https://registry-1.docker.io',
    realm: 'https://evil.example/token',
    expected: false,
  },
  { what: 'a name that ends alike', registry: 'https://ghcr.io', realm: 'https://notghcr.io/token', expected: false },
  {
    what: 'a neighbour under a public suffix',
    registry: 'https://a.co.uk',
    realm: 'https://b.co.uk/token',
    expected: false,
  },
  {
    what: 'another customer of one cloud',
    registry: 'https://a.github.io',
    realm: 'https://b.github.io/token',
    expected: false,
  },
  {
    what: 'another port of an address',
    registry: 'http://127.0.0.1:5000',
    realm: 'http://127.0.0.1:5001/token',
    expected: false,
  },
  {
    what: 'the same address and port',
    registry: 'http://127.0.0.1:5000',
    realm: 'http://127.0.0.1:5000/token',
    expected: true,
  },
  {
    what: 'another port of localhost',
    registry: 'http://localhost:5000',
    realm: 'http://localhost:5001/token',
    expected: false,
  },
  { what: 'a neighbouring address', registry: 'https://[fd00::1]', realm: 'https://[fd00::2]/token', expected: false },
  { what: 'a downgrade', registry: 'https://ghcr.io', realm: 'http://ghcr.io/token', expected: false },
  {
    what: 'plain http as the registry',
    registry: 'http://registry.corp.example',
    realm: 'http://auth.corp.example/token',
    expected: true,
  },
  { what: 'a URL with a password', registry: 'https://ghcr.io', realm: 'https://a:b@ghcr.io/token', expected: false },
  { what: 'a listed host', registry: 'https://cr.l5d.io', realm: 'https://tokens.example/token', expected: true },
  {
    what: 'a listed host over http',
    registry: 'https://cr.l5d.io',
    realm: 'http://tokens.example/token',
    expected: false,
  },
  {
    what: 'another port of a listed host',
    registry: 'https://cr.l5d.io',
    realm: 'https://tokens.example:8443/token',
    expected: false,
  },
])('$what: a registry at $registry may send us to $realm: $expected', ({ registry, realm, expected }) => {
  expect(isTrustedRealm(new URL(realm), new URL(registry), ['tokens.example'])).toBe(expected);
});
