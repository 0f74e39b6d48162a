import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  demandOf,
  parseChallenges,
  realmObjection,
  untrusted,
} from '../../../../../src/upstream/credentials/protocol/challenge.ts';

const parsed = (header: string | string[] | undefined) =>
  parseChallenges(header).map(({ scheme, params }) => ({ scheme, ...Object.fromEntries(params) }));

describe('challenges of real registries', () => {
  test.each([
    {
      registry: 'Docker Hub',
      header:
        'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:samalba/my-app:pull,push"',
      expected: [
        {
          scheme: 'bearer',
          realm: 'https://auth.docker.io/token',
          service: 'registry.docker.io',
          scope: 'repository:samalba/my-app:pull,push',
        },
      ],
    },
    {
      registry: 'Artifact Registry, without a service',
      header: 'Bearer realm="https://us-docker.pkg.dev/v2/token"',
      expected: [{ scheme: 'bearer', realm: 'https://us-docker.pkg.dev/v2/token' }],
    },
    {
      registry: 'gcr.io, unquoted',
      header: 'Bearer realm=https://gcr.io/v2/token,service=gcr.io',
      expected: [{ scheme: 'bearer', realm: 'https://gcr.io/v2/token', service: 'gcr.io' }],
    },
    {
      registry: 'Codeberg, two challenges in one line',
      header:
        'Bearer realm="https://codeberg.org/v2/token",service="container_registry",scope="*",Basic realm="https://codeberg.org/v2"',
      expected: [
        { scheme: 'bearer', realm: 'https://codeberg.org/v2/token', service: 'container_registry', scope: '*' },
        { scheme: 'basic', realm: 'https://codeberg.org/v2' },
      ],
    },
    {
      registry: 'ECR',
      header: 'Basic realm="https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com"',
      expected: [
        {
          scheme: 'basic',
          realm: 'https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/',
          service: 'ecr.amazonaws.com',
        },
      ],
    },
    {
      registry: 'capital letters and spaces',
      header: '  BEARER  REALM = "https://a/t" ,  Service = "Docker Registry" ',
      expected: [{ scheme: 'bearer', realm: 'https://a/t', service: 'Docker Registry' }],
    },
    {
      registry: 'escapes',
      header: String.raw`Bearer realm="https://a/t",error_description="say \"please\" \\ now"`,
      expected: [{ scheme: 'bearer', realm: 'https://a/t', error_description: String.raw`say "please" \ now` }],
    },
    {
      registry: 'Windows accounts too',
      header: 'Negotiate, NTLM TlRMTVNTUAAB==, Basic realm="x"',
      expected: [{ scheme: 'negotiate' }, { scheme: 'ntlm' }, { scheme: 'basic', realm: 'x' }],
    },
  ])('$registry', ({ header, expected }) => {
    expect(parsed(header)).toEqual(expected);
  });
});

test('several header lines are several challenges', () => {
  expect(parsed(['Basic realm="a"', 'Bearer realm="https://a/t"'])).toEqual([
    { scheme: 'basic', realm: 'a' },
    { scheme: 'bearer', realm: 'https://a/t' },
  ]);
  expect(parsed(undefined)).toEqual([]);
});

describe('any header', () => {
  const token = fc.stringMatching(/^[!#$%&'*+\-.^_`|~0-9a-z]{1,10}$/);
  const challenge = fc.record({
    scheme: token,
    params: fc.uniqueArray(fc.tuple(token, fc.string()), { selector: ([name]) => name, minLength: 1 }),
  });
  const quoted = (value: string) => `"${value.replace(/["\\]/g, String.raw`\$&`)}"`;

  test('is parsed back to the challenges it was written from', () => {
    const written = fc.array(challenge, { minLength: 1 });
    fc.assert(
      fc.property(written, (challenges) => {
        const header = challenges
          .map(
            ({ scheme, params }) => `${scheme} ${params.map(([name, value]) => `${name}=${quoted(value)}`).join(',')}`,
          )
          .join(', ');
        const read = parseChallenges(header).map(({ scheme, params }) => ({ scheme, params: [...params] }));
        expect(read).toEqual(challenges);
      }),
    );
  });

  test('never makes the parser throw or loop', () => {
    const odd = fc
      .array(fc.constantFrom('Bearer', ' ', ',', '=', '"', '\\', 'realm', 'x==', '\t', 'é'))
      .map((all) => all.join(''));
    fc.assert(
      fc.property(fc.oneof(fc.string(), odd), (header) => {
        expect(parseChallenges(header).length).toBeLessThanOrEqual(header.length);
      }),
    );
  });
});

describe('the demand of a challenge', () => {
  const demand = (header: string) => demandOf(parseChallenges(header));

  test('a token is preferred to a password', () => {
    expect(demand('Basic realm="x", Bearer realm="https://a/t",service="s",scope="c"')).toEqual({
      kind: 'bearer',
      realm: new URL('https://a/t'),
      service: 's',
      scope: 'c',
    });
  });

  test.each([
    'Basic realm="x"',
    'Bearer realm="Artifactory Realm"',
    'Bearer',
    'Bearer realm="ftp://a/t"',
    'Negotiate, Basic',
  ])('%s asks for the password itself', (header) => {
    expect(demand(header)).toEqual({ kind: 'basic' });
  });

  test.each(['', 'Negotiate', 'NTLM abc=='])('%s is not supported', (header) => {
    expect(demand(header)).toBeUndefined();
  });
});

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
