import type { Clock, Waiting } from '../../mirror/ports.ts';
import { OciError, UpstreamError } from '../../oci/errors.ts';
import { failureOf } from '../answer-errors.ts';
import type { Answer, Send } from '../exchange.ts';
import { maxSmallBodyBytes, readAtMost } from '../read-at-most.ts';
import { basicHeader, type Secret } from './credentials.ts';
import { parseTokenResponse, type Token } from './token-response.ts';

/** What a token is asked for. */
export interface TokenRequest {
  readonly realm: URL;
  readonly service: string | undefined;
  readonly scopes: readonly string[];
}

export interface TokenEndpointDeps {
  readonly send: Send;
  readonly clock: Clock;
}

/**
 * Asks a token endpoint once. Redirects are not followed: a secret goes where the registry's challenge says, or nowhere.
 * Source: distribution, "Token Authentication Specification".
 * @throws UpstreamError, or OciError DENIED when it refuses an anonymous request.
 */
export async function requestToken(
  { send, clock }: TokenEndpointDeps,
  request: TokenRequest,
  { secret, signal }: Waiting & { readonly secret: Secret | undefined },
): Promise<Token> {
  const answer = await send(
    { method: 'GET', url: tokenUrl(request, secret), headers: proofOf(secret), kind: 'token' },
    { signal },
  );
  return tokenFrom(answer, { secret, clock });
}

async function tokenFrom(
  answer: Answer,
  { secret, clock }: { secret: Secret | undefined; clock: Clock },
): Promise<Token> {
  if (answer.status !== 200) throw await tokenFailure(answer, { secret, clock });
  const bytes = await readAtMost(answer, maxSmallBodyBytes);
  return parseTokenResponse(bytes, { host: answer.url.host, nowMs: clock.now() });
}

/** A token endpoint that has nothing at its address says nothing about the image: that is no 404 to pass on. */
async function tokenFailure(answer: Answer, { secret, clock }: { secret: Secret | undefined; clock: Clock }) {
  const failure = await failureOf(answer, { missing: 'NAME_UNKNOWN', isAuthenticated: secret !== undefined, clock });
  if (!(failure instanceof OciError) || failure.code === 'DENIED') return failure;
  return new UpstreamError('misbehaving', `${answer.url.host} has no token endpoint where it should`, {
    cause: failure,
  });
}

function tokenUrl({ realm, service, scopes }: TokenRequest, secret: Secret | undefined): URL {
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set('service', service);
  for (const scope of scopes) url.searchParams.append('scope', scope);
  if (secret?.kind === 'basic') url.searchParams.set('account', secret.username);
  url.searchParams.set('client_id', 'layerwell');
  return url;
}

function proofOf(secret: Secret | undefined): Readonly<Record<string, string>> {
  return secret?.kind === 'basic' ? { authorization: basicHeader(secret.username, secret.password) } : {};
}
