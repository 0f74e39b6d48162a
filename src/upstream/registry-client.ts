import type { Clock, Observer, Upstream } from '../mirror/ports.ts';
import { headBlob, openBlob } from './blobs.ts';
import { type Connections, createConnections } from './connections.ts';
import { Authorizer } from './credentials/authorizer.ts';
import { Accounts } from './credentials/accounts.ts';
import { Tokens } from './credentials/tokens.ts';
import { createSend } from './exchange.ts';
import { listReferrers, listTags } from './listings.ts';
import { getManifest, headManifest } from './manifests.ts';
import { createRequests, type Requests } from './requests.ts';
import { retryingLostConnections } from './retry.ts';
import type { UpstreamSettings } from './settings.ts';

export interface RegistryClientDeps {
  /** As clients write it. */
  readonly name: string;
  /** The key of its entry in the configuration. */
  readonly label: string;
  readonly settings: UpstreamSettings;
  readonly clock: Clock;
  readonly observer: Observer;
}

/** One registry the mirror pulls from, with its sockets. */
export interface RegistryClient extends Upstream {
  /** Closes its connections once what is under way on them has ended; it can still be asked, over new ones. */
  retire(): Promise<void>;
  /** Drops its connections and whatever is under way on them. */
  close(): Promise<void>;
}

/**
 * The pull half of the distribution API of one registry.
 * Source: OCI distribution-spec v1.1.1, "Pull" and "Content Discovery".
 */
export function createRegistryClient(deps: RegistryClientDeps): RegistryClient {
  const { name, label, settings } = deps;
  const registry = new URL(settings.url ?? `https://${name}`);
  // A name that a pattern admitted was chosen by a client: it may not lead to private addresses.
  const exact = name === label || settings.url !== undefined ? [registry] : [];
  const connections = createConnections(settings, { own: [registry], exact });
  const requests = requestsTo(registry, connections, deps);
  return {
    name,
    label,
    headManifest: (repository, reference, options) => headManifest(requests, repository, reference, options),
    getManifest: (repository, reference, options) => getManifest(requests, repository, reference, options),
    headBlob: (repository, digest, options) => headBlob(requests, repository, digest, options),
    openBlob: (repository, digest, options) => openBlob(requests, repository, digest, options),
    listTags: (repository, options) => listTags(requests, repository, options),
    listReferrers: (repository, digest, options) => listReferrers(requests, repository, digest, options),
    retire: () => connections.retire(),
    close: () => connections.close(),
  };
}

function requestsTo(registry: URL, connections: Connections, deps: RegistryClientDeps): Requests {
  const { label, settings, clock, observer } = deps;
  const { timeouts, userAgent, realmHosts, credentials, repositoryPrefix } = settings;
  const send = retryingLostConnections(
    createSend({ upstream: label, connections, timeouts, userAgent, clock, observer }),
  );
  const tokens = () => new Tokens({ send, clock, timeoutMs: timeouts.tokenMs });
  const authorizerFor = (host: URL) => new Authorizer({ registry: host, realmHosts, tokens: tokens() });
  return createRequests({
    registry,
    prefix: repositoryPrefix === undefined ? '' : `${repositoryPrefix}/`,
    send,
    authorizer: authorizerFor(registry),
    authorizerFor,
    accounts: new Accounts(credentials),
    clock,
  });
}
