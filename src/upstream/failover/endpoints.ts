import type { Readable } from 'node:stream';
import { boundedMap } from '../../mirror/concurrency/remembered.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Memory } from '../../mirror/ports/memory.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { Tracing } from '../../mirror/ports/tracing.ts';
import type { Upstream, UpstreamMonitor } from '../../mirror/ports/upstream.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { type Digest, isDigest, isOfNothing } from '../../oci/digest.ts';
import { type FailureReason, UpstreamError } from '../../oci/errors.ts';
import type { Reference } from '../../oci/reference.ts';
import { headBlob, openBlob } from '../api/blobs.ts';
import { listTags } from '../api/listings.ts';
import { getManifest, headManifest } from '../api/manifests.ts';
import { apiRootOf } from '../api/ping.ts';
import { listReferrers } from '../api/referrers.ts';
import { createRequests, type Requests } from '../api/requests.ts';
import { Accounts } from '../credentials/accounts.ts';
import { Authorizer } from '../credentials/protocol/authorizer.ts';
import { Tokens } from '../credentials/protocol/tokens.ts';
import type { CredentialSettings, UpstreamSettings } from '../settings.ts';
import type { Connections } from '../transport/connections.ts';
import { createSend, type Send } from '../transport/exchange.ts';
import { hostMatcher, plainHttpHosts } from '../transport/hosts.ts';
import type { CloudAgents } from '../transport/proxy.ts';
import { Distrust } from './distrust.ts';
import { FailingResources, type Question } from './failing-resources.ts';
import type { Retry } from './retry.ts';

/** Redirects lead to a few hosts. */
const maxGuestHosts = 64;

/** The methods of an upstream at one address: the registry itself, or one of its mirrors. */
export type Endpoint = Omit<Upstream, 'name' | 'label' | 'maxConnections' | 'askVisibility' | 'failedVerification'>;

/** Wraps a request to an endpoint: may retry it, or refuse it. */
export type Guard = <Value>(question: Question, ask: () => Promise<Value>) => Promise<Value>;

export interface EndpointDeps {
  /** The upstream's name as clients write it, and the key of its entry. */
  readonly name: string;
  readonly label: string;
  readonly url: URL;
  readonly credentials: readonly CredentialSettings[];
  /** Whether the upstream's name is sent as `?ns=`. */
  readonly forwardNs: boolean;
  /** Whether it gets the trace context of requests. */
  readonly sendTraceContext?: boolean | undefined;
  /** Prefix of every repository's name. */
  readonly repositoryPrefix: string | undefined;
  readonly connections: Connections;
  readonly cloudAgents: CloudAgents;
  readonly settings: Pick<UpstreamSettings, 'timeouts' | 'userAgent' | 'realmHosts' | 'redirectHosts'>;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Receives the outcome of every request. */
  readonly monitor?: UpstreamMonitor | undefined;
  /** Buffered answers count against it. */
  readonly memory?: Memory | undefined;
  /** Aborts when the upstream is closed. */
  readonly closing?: AbortSignal | undefined;
  readonly tracing?: Pick<Tracing, 'ask'> | undefined;
}

/** Stands before every request to one endpoint. */
export interface Breaker {
  readonly guard: Guard;
  /** A body that breaks off counts as a failure, so that the rest is requested elsewhere. */
  watch(body: Readable, question: Question): void;
}

interface EndpointGuards {
  readonly breaker: Breaker;
  readonly retry: Retry;
}

/** An endpoint whose transient errors are retried, whose failing resources are not requested for a while, and whose circuit opens. */
export function createEndpoint(deps: EndpointDeps, { breaker, retry }: EndpointGuards): Endpoint {
  const requests = requestsTo(deps);
  const { label, clock, observer } = deps;
  const onFailure = (reason: FailureReason) => observer.upstreamFailed({ upstream: label, reason });
  const retryGuard = createRetryGuard({ clock, retry, onFailure });
  const guard: Guard = (question, ask) => breaker.guard(question, () => retryGuard(question, ask));
  return {
    headManifest: (repository, reference, options) =>
      guard({ signal: options.signal, repository, resource: `manifest head ${reference}` }, () =>
        headManifest(requests, repository, reference, options),
      ),
    getManifest: (repository, reference, options) =>
      guard({ signal: options.signal, repository, resource: `manifest ${reference}` }, () =>
        getManifest(requests, repository, reference, options),
      ),
    headBlob: (repository, digest, options) =>
      guard({ signal: options.signal, repository, resource: `blob head ${digest}` }, () =>
        headBlob(requests, repository, digest, options),
      ),
    openBlob: async (repository, digest, options) => {
      const isResumed = (options.range?.start ?? 0) > 0;
      const question = { signal: options.signal, repository, resource: `blob ${digest}`, isResumed };
      const opened = await guard(question, () => openBlob(requests, repository, digest, options));
      breaker.watch(opened.body, question);
      return opened;
    },
    listTags: (repository, options) =>
      guard({ signal: options.signal, repository, resource: 'tags' }, () => listTags(requests, repository, options)),
    listReferrers: (repository, digest, options) =>
      guard({ signal: options.signal, repository, resource: `referrers ${digest}` }, () =>
        listReferrers(requests, repository, digest, options),
      ),
  };
}

export interface RetryGuardDeps {
  readonly clock: Clock;
  readonly retry: Retry;
  /** Called for each request that gets no usable answer, after its retries. */
  readonly onFailure?: (reason: FailureReason) => void;
}

/** The guard that retries transient errors, and sends no request for a resource that keeps failing. */
export function createRetryGuard({ clock, retry, onFailure = () => {} }: RetryGuardDeps): Guard {
  let failing: FailingResources | undefined;
  return async (question, ask) => {
    const known = failing?.check(question);
    try {
      const value = await ask().catch((cause: unknown) => retry(cause, question, ask));
      failing?.succeeded(question);
      return value;
    } catch (cause) {
      failing ??= new FailingResources({ clock });
      failing.failed(question, { cause, known });
      if (cause instanceof UpstreamError && !question.signal.aborted) onFailure(cause.reason);
      throw cause;
    }
  };
}

export function sendTo(deps: EndpointDeps): Send {
  const { label, url, connections, settings, clock, observer, monitor, memory } = deps;
  const { timeouts, userAgent } = settings;
  const tracing = deps.tracing && {
    tracing: deps.tracing,
    origin: url.origin,
    sendsContext: deps.sendTraceContext === true,
  };
  return createSend({ upstream: label, connections, timeouts, userAgent, clock, observer, monitor, memory, tracing });
}

export function requestsTo(deps: EndpointDeps): Requests {
  const { name, label, url, cloudAgents, settings, clock, observer, monitor, closing } = deps;
  const { timeouts, realmHosts, redirectHosts } = settings;
  const send = sendTo(deps);
  const tokens = () => new Tokens({ send, clock, timeoutMs: timeouts.tokenMs });
  const authorizerFor = (registry: URL) => new Authorizer({ registry, realmHosts, tokens: tokens(), clock });
  return createRequests({
    registry: url,
    apiRoot: apiRootOf(url),
    prefix: deps.repositoryPrefix === undefined ? '' : `${deps.repositoryPrefix}/`,
    namespace: deps.forwardNs ? name : undefined,
    upstream: label,
    send,
    authorizer: authorizerFor(url),
    guestAt: guestsOf(authorizerFor),
    mayBePlain: hostMatcher(plainHttpHosts(redirectHosts)),
    accounts: new Accounts(deps.credentials, { registry: { name, label, url }, cloudAgents, clock, observer, closing }),
    clock,
    observer,
    monitor,
  });
}

/** One for each host after a redirect, so that its tokens are shared. Bounded, because a registry may name any number of hosts. */
function guestsOf(authorizerFor: (host: URL) => Authorizer): (host: URL) => Authorizer {
  const guests = boundedMap<string, Authorizer>(maxGuestHosts);
  return (host) => {
    const known = guests.get(host.origin) ?? authorizerFor(host);
    guests.set(host.origin, known);
    return known;
  };
}

export interface MirrorEndpoint {
  readonly endpoint: Endpoint;
  /** Whether it is also asked for what can change: tags and referrers. */
  readonly tags: boolean;
}

export interface EndpointsDeps {
  /** In the order of trying. */
  readonly mirrors: readonly MirrorEndpoint[];
  readonly registry: Endpoint;
  readonly clock: Clock;
}

/**
 * Tries the mirrors before the registry. If a mirror refuses or fails, the next one is tried, and the registry last; its answer is final. A
 * mirror that may lag behind is only asked for content by digest. A mirror that sent wrong bytes for a digest is skipped for it.
 */
export function createEndpoints({
  mirrors,
  registry,
  clock,
}: EndpointsDeps): Endpoint & Pick<Upstream, 'failedVerification'> {
  const watched = mirrors.map(({ endpoint, tags }) => {
    const distrust = new Distrust({ clock });
    return { endpoint: watching(endpoint, distrust), tags, distrust };
  });
  const endpointsForNames = [...watched.filter(({ tags }) => tags).map(({ endpoint }) => endpoint), registry];
  const endpointsFor = (digest: Digest): readonly Endpoint[] => {
    const trusted = watched.filter(({ distrust }) => !distrust.has(digest));
    return [...trusted.map(({ endpoint }) => endpoint), registry];
  };
  const endpointsOf = (reference: Reference) => (isDigest(reference) ? endpointsFor(reference) : endpointsForNames);
  return {
    headManifest: (repository, reference, options) =>
      firstOf(endpointsOf(reference), options, (one) => one.headManifest(repository, reference, options)),
    getManifest: (repository, reference, options) =>
      firstOf(endpointsOf(reference), options, (one) => one.getManifest(repository, reference, options)),
    headBlob: (repository, digest, options) =>
      firstOf(endpointsFor(digest), options, (one) => one.headBlob(repository, digest, options)),
    openBlob: (repository, digest, options) =>
      firstOf(endpointsFor(digest), options, (one) => one.openBlob(repository, digest, options)),
    listTags: (repository, options) => firstOf(endpointsForNames, options, (one) => one.listTags(repository, options)),
    listReferrers: (repository, digest, options) =>
      firstOf(endpointsForNames, options, (one) => one.listReferrers(repository, digest, options)),
    failedVerification: (digest) => {
      const isKnownBy = watched.map(({ distrust }) => distrust.wasWrong(digest)).includes(true);
      // The beginning may be from an earlier process, which had it from any of them.
      if (!isKnownBy) for (const { distrust } of watched) distrust.avoid(digest);
    },
  };
}

/** A mirror whose wrong bytes are recorded. */
function watching(endpoint: Endpoint, distrust: Distrust): Endpoint {
  return {
    ...endpoint,
    getManifest: async (repository, reference, options) => {
      if (isDigest(reference)) distrust.sends(reference);
      try {
        const manifest = await endpoint.getManifest(repository, reference, options);
        distrust.wasRight();
        return manifest;
      } catch (cause) {
        const isWrong = cause instanceof UpstreamError && cause.reason === 'misbehaving';
        if (isWrong && isDigest(reference)) distrust.wasWrong(reference);
        throw cause;
      }
    },
    openBlob: async (repository, digest, options) => {
      const opened = await endpoint.openBlob(repository, digest, options);
      distrust.sends(digest);
      if (opened.size !== 0 || isOfNothing(digest)) return opened;
      opened.body.destroy();
      distrust.wasWrong(digest);
      throw new UpstreamError('misbehaving', `an empty body was sent for ${digest}`);
    },
  };
}

/** @throws the last one's error; the signal's reason when it aborts. */
async function firstOf<Value>(
  [endpoint, ...others]: readonly Endpoint[],
  { signal }: Waiting,
  ask: (endpoint: Endpoint) => Promise<Value>,
): Promise<Value> {
  if (!endpoint) throw new Error('an upstream has at least its registry');
  try {
    return await ask(endpoint);
  } catch (cause) {
    signal.throwIfAborted();
    if (others.length === 0) throw cause;
  }
  return firstOf(others, { signal }, ask);
}
