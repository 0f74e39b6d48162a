import type { Clock } from '../../../mirror/ports/clock.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { OciError, UpstreamError } from '../../../oci/errors.ts';
import { errorOfAnswer } from '../../transport/answer-errors.ts';
import type { Answer } from '../../transport/answer.ts';
import type { Exchange, Send } from '../../transport/exchange.ts';
import { discard, maxSmallBodyBytes, readAtMost } from '../../transport/read-at-most.ts';
import { authorizationFor, type Secret } from '../credentials.ts';
import { sendWithinOrigin } from './token-redirects.ts';
import { parseTokenResponse, type Token } from './token-response.ts';

/** A request for a token. */
export interface TokenRequest {
  readonly realm: URL;
  readonly service: string | undefined;
  readonly scopes: readonly string[];
}

export interface TokenEndpointDeps {
  readonly send: Send;
  readonly clock: Clock;
}

const clientId = 'layerwell';

/** The answers of token endpoints without POST: GCR 404, distribution 405, Artifactory 401, Azure 400 (containerd, `authorizer.go`). */
const withoutPost: ReadonlySet<number> = new Set([400, 401, 404, 405]);

/**
 * Requests a token. Redirects are followed within the endpoint's origin only: a secret is sent only where the registry's challenge says.
 * Source: distribution, "Token Authentication Specification"; for identity tokens "OAuth2 Token Authentication".
 * @throws UpstreamError, or OciError DENIED when it refuses an anonymous request.
 */
export async function requestToken(
  { send, clock }: TokenEndpointDeps,
  request: TokenRequest,
  { secret, signal }: Waiting & { readonly secret: Secret | undefined },
): Promise<Token> {
  // A registry token needs no exchange.
  if (secret?.kind === 'registry-token') return { header: authorizationFor(secret), renewAtMs: clock.monotonicMs() };
  if (secret?.kind === 'identity-token') {
    const answer = await sendWithinOrigin(send, refreshGrant(request, secret.token), { signal });
    if (!withoutPost.has(answer.status)) return tokenFrom(answer, { secret, clock });
    await discard(answer);
  }
  const answer = await sendWithinOrigin(send, plainRequest(request, secret), { signal });
  return tokenFrom(answer, { secret, clock });
}

function plainRequest({ realm, service, scopes }: TokenRequest, secret: Secret | undefined): Exchange {
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set('service', service);
  for (const scope of scopes) url.searchParams.append('scope', scope);
  if (secret?.kind === 'basic') url.searchParams.set('account', secret.username);
  url.searchParams.set('client_id', clientId);
  return { method: 'GET', url, headers: secret ? { authorization: authorizationFor(secret) } : {}, kind: 'token' };
}

function refreshGrant({ realm, service, scopes }: TokenRequest, token: string): Exchange {
  const form = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: token, client_id: clientId });
  if (service !== undefined) form.set('service', service);
  form.set('scope', scopes.join(' '));
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  return { method: 'POST', url: realm, headers, body: form.toString(), kind: 'token' };
}

interface Asker {
  readonly secret: Secret | undefined;
  readonly clock: Clock;
}

async function tokenFrom(answer: Answer, { secret, clock }: Asker): Promise<Token> {
  if (answer.status !== 200) throw await tokenFailure(answer, { secret, clock });
  const bytes = await readAtMost(answer, maxSmallBodyBytes);
  const nowMs = clock.now();
  const { header, renewAtMs } = parseTokenResponse(bytes, { host: answer.url.host, nowMs });
  return { header, renewAtMs: clock.monotonicMs() + renewAtMs - nowMs };
}

/** A 404 of a token endpoint is not about the image, so it is not passed on. */
async function tokenFailure(answer: Answer, { secret, clock }: Asker): Promise<OciError | UpstreamError> {
  const failure = await errorOfAnswer(answer, {
    missing: 'NAME_UNKNOWN',
    isAuthenticated: secret !== undefined,
    clock,
  });
  if (!(failure instanceof OciError) || failure.code === 'DENIED') return failure;
  return new UpstreamError('misbehaving', `${answer.url.host} answered ${answer.status} at the token endpoint`, {
    cause: failure,
  });
}
