import type { Waiting } from '../mirror/ports/waiting.ts';
import { OciError, UpstreamError } from '../oci/errors.ts';
import { parseRepository } from '../oci/reference.ts';
import { type Demand, demandOf, parseChallenges, realmObjection, untrusted } from './credentials/protocol/challenge.ts';
import { createCredentials } from './credentials/accounts.ts';
import { anonymous, type Credentials, authorizationFor, type Secret } from './credentials/credentials.ts';
import { Tokens } from './credentials/protocol/tokens.ts';
import { type EndpointDeps, requestsTo, sendTo } from './failover/endpoints.ts';
import { isTimeout } from './failover/failure-verdict.ts';
import type { Answer } from './transport/answer.ts';
import type { Send } from './transport/exchange.ts';
import { apiRootOf, pingRegistry } from './api/ping.ts';
import { type RateLimit, rateLimitOf } from './transport/rate-limits.ts';
import { discard } from './transport/read-at-most.ts';
import type { CredentialSettings } from './settings.ts';

/** The answer of one address of an upstream, the registry itself or a mirror, to a ping. */
export interface EndpointProbe {
  readonly url: URL;
  /** Why it is unusable; undefined if it answered like a registry. */
  readonly failure: string | undefined;
  /** One for each of its credentials, in order; without any, one anonymous. None if it failed. */
  readonly accounts: readonly AccountProbe[];
}

/**
 * The result of signing in with an account.
 *
 *     signed-in   the registry accepted it
 *     anonymous   there is no account, or its source has none for this registry
 *     unchecked   the registry answers a ping without credentials, so the account was not checked
 *     refused     it was not accepted, or could not be read: see `why`
 *     no-token    the token endpoint gave no anonymous token: see `why`
 */
export type SignIn = 'signed-in' | 'anonymous' | 'unchecked' | 'refused' | 'no-token';

export interface AccountProbe {
  readonly signIn: SignIn;
  /** Names no account and no secret. */
  readonly why: string | undefined;
  /** Its rate limit, if the registry reports it. */
  readonly rateLimit: RateLimit | undefined;
}

/** Pings one address, without pulling anything: finds out what it demands, and whether it accepts each account. */
export async function probeEndpoint(deps: EndpointDeps, options: Waiting): Promise<EndpointProbe> {
  const { url } = deps;
  try {
    const send = sendTo(deps);
    const answer = await pingRegistry(send, apiRootOf(url), options);
    const failure = failureAt(answer);
    if (failure !== undefined) return { url, failure, accounts: [] };
    const demand = demandOf(parseChallenges(answer.headers['www-authenticate']));
    const endpoint: Endpoint = { deps, send, demand };
    const probes = deps.credentials.map((one, index) => probeAccount(endpoint, one, { signal: options.signal, index }));
    const accounts = await Promise.all(probes.length === 0 ? [probeAnonymous(endpoint, options)] : probes);
    return { url, failure: undefined, accounts };
  } catch (cause) {
    return { url, failure: wordsFor(cause), accounts: [] };
  }
}

/** An address, and the authentication that it requires; undefined: none. */
interface Endpoint {
  readonly deps: EndpointDeps;
  readonly send: Send;
  readonly demand: Demand | undefined;
}

/** distribution-spec v1.1.1, "Determining Support": 200, or 401 if authentication is needed; some registries answer 403. */
function failureAt({ url, status }: Answer): string | undefined {
  if (status === 200 || status === 401 || status === 403) return undefined;
  return `${url.host} answered ${status} where a registry says 200 or 401`;
}

async function probeAnonymous(endpoint: Endpoint, options: Waiting): Promise<AccountProbe> {
  const { demand, deps } = endpoint;
  if (demand?.kind === 'basic') return refused(`${deps.url.host} requires credentials, and none are configured`);
  try {
    if (demand) await tokenFor(endpoint, demand, { credentials: anonymous, signal: options.signal });
  } catch (cause) {
    // GitLab gives no anonymous token without a scope; a token endpoint that says so is reachable.
    const isRefusal = cause instanceof OciError && cause.code === 'DENIED';
    if (!isRefusal) return { signIn: 'no-token', why: wordsFor(cause), rateLimit: undefined };
  }
  return accountProbe('anonymous', await allowance(endpoint, [], options));
}

async function probeAccount(
  endpoint: Endpoint,
  settings: CredentialSettings,
  { signal, index }: Waiting & { readonly index: number },
): Promise<AccountProbe> {
  const { name, label, url, cloudAgents, clock, observer, closing } = endpoint.deps;
  const account = `${settings.kind}-${index + 1}`;
  const credentials = createCredentials(settings, {
    account,
    registry: { name, label, url },
    cloudAgents,
    clock,
    observer,
    closing,
  });
  try {
    const secret = await credentials.secret({ signal });
    if (!secret) return await probeAnonymous(endpoint, { signal });
    if (!endpoint.demand) return accountProbe('unchecked', undefined);
    const header = await headerFor(endpoint, endpoint.demand, { credentials, secret, signal });
    const { status } = await pingRegistry(endpoint.send, apiRootOf(url), { signal }, header);
    if (status !== 200) return refused(`${url.host} refused the account (${status})`);
    return accountProbe('signed-in', await allowance(endpoint, [settings], { signal }));
  } catch (cause) {
    return refused(wordsFor(cause));
  }
}

interface Proof extends Waiting {
  readonly credentials: Credentials;
  readonly secret: Secret;
}

async function headerFor(endpoint: Endpoint, demand: Demand, { credentials, secret, signal }: Proof): Promise<string> {
  return demand.kind === 'basic' ? authorizationFor(secret) : tokenFor(endpoint, demand, { credentials, signal });
}

/** Requests a token like `docker login`: without a scope, unless the registry has one scope for everything (public.ecr.aws: `aws`). */
async function tokenFor(
  { deps, send }: Endpoint,
  { realm, service, scope }: Extract<Demand, { kind: 'bearer' }>,
  { credentials, signal }: Pick<Proof, 'credentials' | 'signal'>,
): Promise<string> {
  const { url, settings, clock } = deps;
  const objection = realmObjection(realm, url, settings.realmHosts);
  if (objection) throw untrusted(realm, url, objection);
  const scopes = !scope || scope.startsWith('repository:') ? [] : [scope];
  const tokens = new Tokens({ send, clock, timeoutMs: settings.timeouts.tokenMs });
  return tokens.header({ realm, service, scopes }, credentials, { signal });
}

/** Docker Hub, "Usage and limits: Pulls": a HEAD of this image reports the rate limit and does not count as a pull. */
const previewOf: ReadonlyMap<string, { readonly repository: string; readonly tag: string }> = new Map([
  ['docker.io', { repository: 'ratelimitpreview/test', tag: 'latest' }],
]);

async function allowance(
  { deps }: Endpoint,
  credentials: readonly CredentialSettings[],
  options: Waiting,
): Promise<RateLimit | undefined> {
  const preview = previewOf.get(deps.name);
  if (!preview) return undefined;
  const requests = requestsTo({ ...deps, credentials: credentials.map((one) => ({ ...one, repositories: ['**'] })) });
  const repository = parseRepository(preview.repository);
  const url = requests.urlOf(repository, `manifests/${preview.tag}`);
  try {
    const answer = await requests.ask({ method: 'HEAD', url, kind: 'manifest', repository }, options);
    await discard(answer);
    return rateLimitOf(answer.headers, deps.clock.now());
  } catch (cause) {
    if (!isExpected(cause)) throw cause;
    return undefined; // An unknown rate limit is no failure.
  }
}

function accountProbe(signIn: SignIn, rateLimit: RateLimit | undefined): AccountProbe {
  return { signIn, why: undefined, rateLimit };
}

function refused(why: string): AccountProbe {
  return { signIn: 'refused', why, rateLimit: undefined };
}

/** In errors of the SDKs of AWS and Google the name says what is wrong; the message may name the account. */
function kindOfError(cause: unknown): string {
  return cause instanceof Error && !(cause instanceof UpstreamError) && cause.name.length > 'Error'.length
    ? ` (${cause.name})`
    : '';
}

/** The reason of a failure or a refusal, without account or secret. @throws any other error: it is a bug. */
function wordsFor(cause: unknown): string {
  if (cause instanceof UpstreamError || cause instanceof OciError) return `${cause.message}${kindOfError(cause.cause)}`;
  if (isTimeout(cause)) return 'it did not answer in time';
  throw cause;
}

function isExpected(cause: unknown): boolean {
  return cause instanceof UpstreamError || cause instanceof OciError || isTimeout(cause);
}
