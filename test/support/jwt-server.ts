import { createPrivateKey, randomUUID, sign, X509Certificate } from 'node:crypto';
import type { Clock } from '../../src/mirror/ports/clock.ts';
import type { TokenIssuer } from './docker-registry.ts';
import { startSource, type Source, type SourceAnswer, type SourceRequest } from './source.ts';

export interface JwtServer extends Source {
  /** What a registry must be told of it. */
  readonly issuer: TokenIssuer;
  /** A token of its own, for the tests to push with. */
  tokenFor(repository: string, actions: readonly string[]): string;
}

export interface JwtServerOptions {
  /** A certificate with its key, EC on P-256. */
  readonly identity: { readonly certificate: string; readonly key: string };
  /** Whether a request shows who may pull. */
  readonly isLetIn: (request: SourceRequest) => boolean;
  readonly clock: Clock;
}

const lifeSeconds = 300;

/**
 * A token server as distribution documents it: a known account gets a JWT for the scopes asked for, signed with a key that the registry
 * trusts by its certificate.
 * Source: distribution, "Token Authentication Specification" and "Token Authentication Implementation".
 */
export async function startJwtServer({ identity, isLetIn, clock }: JwtServerOptions): Promise<JwtServer> {
  const signed = (scopes: readonly string[]) => signedToken(identity, { scopes, service, clock });
  const source = await startSource((request): SourceAnswer => {
    if (!isLetIn(request)) return { status: 401, body: { errors: [{ code: 'UNAUTHORIZED' }] } };
    const scopes = request.url.searchParams.getAll('scope');
    return { status: 200, body: { token: signed(scopes), expires_in: lifeSeconds } };
  });
  const { certificate } = identity;
  return {
    ...source,
    issuer: { realm: `${source.url}/token`, service, issuer, certificate },
    tokenFor: (repository, actions) => signed([`repository:${repository}:${actions.join(',')}`]),
  };
}

const service = 'test-registry';
const issuer = 'test-issuer';

function signedToken(
  { certificate, key }: JwtServerOptions['identity'],
  about: { readonly scopes: readonly string[]; readonly service: string; readonly clock: Clock },
): string {
  const nowSeconds = Math.floor(about.clock.now() / 1_000);
  const header = { typ: 'JWT', alg: 'ES256', x5c: [new X509Certificate(certificate).raw.toString('base64')] };
  const claims = {
    iss: issuer,
    sub: 'robot',
    aud: about.service,
    exp: nowSeconds + lifeSeconds,
    nbf: nowSeconds - 10,
    iat: nowSeconds,
    jti: randomUUID(),
    access: about.scopes.map(accessOf),
  };
  const text = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  const signature = sign('sha256', Buffer.from(text), { key: createPrivateKey(key), dsaEncoding: 'ieee-p1363' });
  return `${text}.${signature.toString('base64url')}`;
}

function accessOf(scope: string): object {
  const [, type, name, actions = ''] = /^(\w+):(.+):([\w,]+)$/.exec(scope) ?? [];
  return { type, name, actions: actions.split(',') };
}
