import type { Clock } from '../../mirror/ports/clock.ts';
import type { Memory } from '../../mirror/ports/memory.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { TagsWaiting, Upstream, UpstreamMonitor } from '../../mirror/ports/upstream.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { headBlob, openBlob } from '../api/blobs.ts';
import { boundedMap } from '../../mirror/concurrency/remembered.ts';
import type { Connections } from '../transport/connections.ts';
import { Accounts } from '../credentials/accounts.ts';
import type { CloudAgents } from '../transport/proxy.ts';
import { Authorizer } from '../credentials/protocol/authorizer.ts';
import { Tokens } from '../credentials/protocol/tokens.ts';
import { createSend, type Send } from '../transport/exchange.ts';
import { hostMatcher, plainHttpHosts } from '../transport/hosts.ts';
import { listTags } from '../api/listings.ts';
import { getManifest, headManifest } from '../api/manifests.ts';
import { apiRootOf } from '../api/ping.ts';
import { listReferrers } from '../api/referrers.ts';
import { createRequests, type Requests } from '../api/requests.ts';
import type { CredentialSettings, UpstreamSettings } from '../settings.ts';
import type { Repository } from '../../oci/reference.ts';

/** Redirects lead to a handful of hosts. */
const maxGuestHosts = 64;

/** The verbs of an upstream at one address: the registry itself, or one of its mirrors. */
export type Endpoint = Omit<Upstream, 'name' | 'label' | 'maxConnections' | 'askVisibility' | 'failedVerification'>;

/** The registry itself, or a mirror: behind a mirror there is another endpoint to ask. */
export type EndpointRole = 'registry' | 'mirror';

/** What an endpoint is asked, as far as guards look at it. */
export interface Question extends Waiting {
  readonly repository: Repository;
  /** Which of its resources, and how: tells it apart from the others of the repository. */
  readonly resource: string;
  /** Whether the rest of something is asked for, of which the beginning has come. */
  readonly isResumed?: boolean;
}

/** Stands around a question to an endpoint, and may ask it again, or not at all. */
export type Guard = <Value>(question: Question, ask: () => Promise<Value>) => Promise<Value>;

export interface EndpointDeps {
  /** The upstream it belongs to: its name as clients write it, and the key of its entry. */
  readonly name: string;
  readonly label: string;
  readonly url: URL;
  readonly credentials: readonly CredentialSettings[];
  /** Whether it is told the upstream's name as `?ns=`. */
  readonly forwardNs: boolean;
  /** Put before every repository's name. */
  readonly repositoryPrefix: string | undefined;
  readonly connections: Connections;
  readonly cloudAgents: CloudAgents;
  readonly settings: Pick<UpstreamSettings, 'timeouts' | 'userAgent' | 'realmHosts' | 'redirectHosts'>;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Learns what it answers. */
  readonly monitor?: UpstreamMonitor | undefined;
  /** What is held of answers counts against it. */
  readonly memory?: Memory | undefined;
}

export function createEndpoint(deps: EndpointDeps): Endpoint {
  const requests = requestsTo(deps);
  return {
    headManifest: (repository, reference, options) => headManifest(requests, repository, reference, options),
    getManifest: (repository, reference, options) => getManifest(requests, repository, reference, options),
    headBlob: (repository, digest, options) => headBlob(requests, repository, digest, options),
    openBlob: (repository, digest, options) => openBlob(requests, repository, digest, options),
    listTags: (repository, options) => listTags(requests, repository, options),
    listReferrers: (repository, digest, options) => listReferrers(requests, repository, digest, options),
  };
}

function tagsResource({ only }: TagsWaiting): string {
  return only ? `tags behind ${only.last ?? ''}` : 'tags';
}

/** An endpoint with a guard around each of its verbs. */
export function guarded(endpoint: Endpoint, guard: Guard): Endpoint {
  return {
    headManifest: (repository, reference, options) =>
      guard({ signal: options.signal, repository, resource: `manifest head ${reference}` }, () =>
        endpoint.headManifest(repository, reference, options),
      ),
    getManifest: (repository, reference, options) =>
      guard({ signal: options.signal, repository, resource: `manifest ${reference}` }, () =>
        endpoint.getManifest(repository, reference, options),
      ),
    headBlob: (repository, digest, options) =>
      guard({ signal: options.signal, repository, resource: `blob head ${digest}` }, () =>
        endpoint.headBlob(repository, digest, options),
      ),
    openBlob: (repository, digest, options) => {
      const isResumed = (options.range?.start ?? 0) > 0;
      return guard({ signal: options.signal, repository, resource: `blob ${digest}`, isResumed }, () =>
        endpoint.openBlob(repository, digest, options),
      );
    },
    listTags: (repository, options) =>
      guard({ signal: options.signal, repository, resource: tagsResource(options) }, () =>
        endpoint.listTags(repository, options),
      ),
    listReferrers: (repository, digest, options) =>
      guard({ signal: options.signal, repository, resource: `referrers ${digest}` }, () =>
        endpoint.listReferrers(repository, digest, options),
      ),
  };
}

export function sendTo({ label, connections, settings, clock, observer, monitor, memory }: EndpointDeps): Send {
  const { timeouts, userAgent } = settings;
  return createSend({ upstream: label, connections, timeouts, userAgent, clock, observer, monitor, memory });
}

export function requestsTo(deps: EndpointDeps): Requests {
  const { name, label, url, cloudAgents, settings, clock, observer, monitor } = deps;
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
    accounts: new Accounts(deps.credentials, { registry: { name, url }, cloudAgents, clock, observer }),
    clock,
    observer,
    monitor,
  });
}

/** One for each host where redirects lead, so that its tokens are shared. Any registry may name any number of hosts. */
function guestsOf(authorizerFor: (host: URL) => Authorizer): (host: URL) => Authorizer {
  const guests = boundedMap<string, Authorizer>(maxGuestHosts);
  return (host) => {
    const known = guests.get(host.origin) ?? authorizerFor(host);
    guests.set(host.origin, known);
    return known;
  };
}
