import { OciError } from '../../oci/errors.ts';
import { hostInPath, type HostName, isRepository, parseRepository, type Repository } from '../../oci/reference.ts';
import type { Upstream } from '../ports/upstream.ts';

/** What of a request says which upstream it means. */
export interface UpstreamHints {
  /** `?ns=`, as containerd and BuildKit send it. */
  readonly namespace: HostName | undefined;
  /** The Host header; undefined also where that names no host. */
  readonly host: HostName | undefined;
  /** What stood before `/v2/`, as in `/ghcr.io/v2/org/app/…` (dockerd and hosts.toml with a path). */
  readonly pathPrefix: HostName | undefined;
  /** The name between `/v2/` and the resource; it may begin with an upstream's name (podman, BuildKit, and people). */
  readonly name: string;
}

export interface UpstreamChoice {
  readonly upstream: Upstream;
  readonly repository: Repository;
}

export interface UpstreamChoiceDeps {
  readonly find: (name: HostName) => Upstream | undefined;
  readonly defaultUpstream: Upstream;
}

/**
 * Finds the upstream a request means: by namespace, else by Host, else by a path prefix, else by the name's first component,
 * else the default. Only configured upstreams are ever found: no client input chooses a host.
 * @throws OciError NAME_UNKNOWN where the request names a registry that is not configured; NAME_INVALID.
 */
export function chooseUpstream(hints: UpstreamHints, deps: UpstreamChoiceDeps): UpstreamChoice {
  const named = byNamespace(hints, deps) ?? byHost(hints, deps) ?? byPathPrefix(hints, deps);
  const { host, rest } = splitFirst(hints.name);
  const leading = host && leadingUpstream(host, deps);
  if (named) {
    // BuildKit with a path mirror says it twice: in `ns` and in the name.
    return choice(named, leading === named ? rest : hints.name);
  }
  if (leading) return choice(leading, rest);
  if (host && looksLikeRegistry(host)) throw notConfigured(host);
  return choice(deps.defaultUpstream, hints.name);
}

function byNamespace({ namespace }: UpstreamHints, deps: UpstreamChoiceDeps): Upstream | undefined {
  return namespace && configured(namespace, deps);
}

/** A pattern admits no Host: that is most often what the mirror itself is called, which `**` would take for a registry. */
function byHost({ host }: UpstreamHints, { find }: UpstreamChoiceDeps): Upstream | undefined {
  const found = host === undefined ? undefined : find(host);
  return found && isByPattern(found) ? undefined : found;
}

/** What a pattern admits counts only where it looks like a registry, as Docker has it: `**` would take every namespace for one. */
function leadingUpstream(host: HostName, { find }: UpstreamChoiceDeps): Upstream | undefined {
  const found = find(host);
  return found && isByPattern(found) && !looksLikeRegistry(host) ? undefined : found;
}

/** As Docker tells the registry from the namespace in the name of an image. */
function looksLikeRegistry(host: HostName): boolean {
  return /[.:]|^localhost$/.test(host);
}

function notConfigured(host: HostName): OciError {
  return new OciError('NAME_UNKNOWN', `${host} is not configured in this mirror: upstreams has no key "${host}"`);
}

function isByPattern({ name, label }: Upstream): boolean {
  return name !== label;
}

function byPathPrefix({ pathPrefix }: UpstreamHints, deps: UpstreamChoiceDeps): Upstream | undefined {
  return pathPrefix && configured(pathPrefix, deps);
}

/** @throws OciError NAME_UNKNOWN, which names the missing key. */
function configured(host: HostName, { find }: UpstreamChoiceDeps): Upstream {
  const found = find(host);
  if (!found) throw notConfigured(host);
  return found;
}

/** Docker Hub keeps its official images under `library/`, which people leave out. */
function choice(upstream: Upstream, name: string): UpstreamChoice {
  const official = upstream.name === 'docker.io' && !name.includes('/') && isRepository(name);
  return { upstream, repository: parseRepository(official ? `library/${name}` : name) };
}

/** The first component of a name where it may be a registry, and what follows it. */
function splitFirst(name: string): { readonly host: HostName | undefined; readonly rest: string } {
  const slash = name.indexOf('/');
  return { host: slash === -1 ? undefined : hostInPath(name.slice(0, slash)), rest: name.slice(slash + 1) };
}
