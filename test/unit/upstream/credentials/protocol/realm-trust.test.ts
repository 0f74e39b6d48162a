import { expect, test } from 'vitest';
import { realmObjection, untrusted } from '../../../../../src/upstream/credentials/protocol/realm-trust.ts';

test.each([
  {
    what: 'Docker Hub',
    registry: 'https://registry-1.docker.io',
    realm: 'https://auth.docker.io/token',
    objection: undefined,
  },
  {
    what: 'GitLab',
    registry: 'https://registry.gitlab.com',
    realm: 'https://gitlab.com/jwt/auth',
    objection: undefined,
  },
  { what: 'the same host', registry: 'https://ghcr.io', realm: 'https://ghcr.io/token', objection: undefined },
  {
    what: 'a port of the same name',
    registry: 'https://git.corp.example:5050',
    realm: 'https://git.corp.example/jwt/auth',
    objection: undefined,
  },
  {
    what: 'another domain',
    registry: 'https://registry-1.docker.io',
    realm: 'https://evil.example/token',
    objection: 'foreign-host',
  },
  {
    what: 'a name that ends alike',
    registry: 'https://ghcr.io',
    realm: 'https://notghcr.io/token',
    objection: 'foreign-host',
  },
  {
    what: 'a neighbour under a public suffix',
    registry: 'https://a.co.uk',
    realm: 'https://b.co.uk/token',
    objection: 'foreign-host',
  },
  {
    what: 'another customer of one cloud',
    registry: 'https://a.github.io',
    realm: 'https://b.github.io/token',
    objection: 'foreign-host',
  },
  {
    what: 'another port of an address',
    registry: 'http://127.0.0.1:5000',
    realm: 'http://127.0.0.1:5001/token',
    objection: 'foreign-host',
  },
  {
    what: 'the same address and port',
    registry: 'http://127.0.0.1:5000',
    realm: 'http://127.0.0.1:5000/token',
    objection: undefined,
  },
  {
    what: 'another port of localhost',
    registry: 'http://localhost:5000',
    realm: 'http://localhost:5001/token',
    objection: 'foreign-host',
  },
  {
    what: 'a neighbouring address',
    registry: 'https://[fd00::1]',
    realm: 'https://[fd00::2]/token',
    objection: 'foreign-host',
  },
  { what: 'a downgrade', registry: 'https://ghcr.io', realm: 'http://ghcr.io/token', objection: 'plain-http' },
  {
    what: 'plain http as the registry',
    registry: 'http://registry.corp.example',
    realm: 'http://auth.corp.example/token',
    objection: undefined,
  },
  {
    what: 'a URL with a password',
    registry: 'https://ghcr.io',
    realm: 'https://a:b@ghcr.io/token',
    objection: 'credentials-in-url',
  },
  { what: 'a listed host', registry: 'https://cr.l5d.io', realm: 'https://tokens.example/token', objection: undefined },
  {
    what: 'a listed host over http',
    registry: 'https://cr.l5d.io',
    realm: 'http://tokens.example/token',
    objection: 'plain-http',
  },
  {
    what: 'another port of a listed host',
    registry: 'https://cr.l5d.io',
    realm: 'https://tokens.example:8443/token',
    objection: 'foreign-host',
  },
] as const)(
  '$what: a registry at $registry may name the realm $realm, unless $objection',
  ({ registry, realm, objection }) => {
    expect(realmObjection(new URL(realm), new URL(registry), ['tokens.example'])).toBe(objection);
  },
);

test.each([
  {
    objection: 'plain-http',
    says: 'ghcr.io issues its tokens at http://ghcr.io, which is not https, though the registry is',
  },
  {
    objection: 'foreign-host',
    says: 'ghcr.io issues its tokens at http://ghcr.io, which is neither of its domain nor in realmHosts',
  },
] as const)('the operator sees why a realm is rejected: $objection', ({ objection, says }) => {
  expect(untrusted(new URL('http://ghcr.io/token'), new URL('https://ghcr.io'), objection).message).toBe(says);
});
