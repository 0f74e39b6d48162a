import { OciError } from '../oci/errors.ts';
import { type HostName, parseHostName } from '../oci/host-name.ts';
import { isRepository, parseRepository, type Repository } from '../oci/reference.ts';
import type { Upstream } from './ports.ts';

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
 * @throws OciError NAME_UNKNOWN for a namespace or prefix that is nobody's; NAME_INVALID.
 */
export function chooseUpstream(hints: UpstreamHints, deps: UpstreamChoiceDeps): UpstreamChoice {
  const named = byNamespace(hints, deps) ?? byHost(hints, deps) ?? byPathPrefix(hints, deps);
  const [first, rest] = splitFirst(hints.name);
  const leading = rest === undefined ? undefined : leadingUpstream(first, deps);
  if (named) {
    // BuildKit with a path mirror says it twice: in `ns` and in the name.
    return choice(named, leading === named && rest !== undefined ? rest : hints.name);
  }
  return leading && rest !== undefined ? choice(leading, rest) : choice(deps.defaultUpstream, hints.name);
}

function byNamespace({ namespace }: UpstreamHints, { find }: UpstreamChoiceDeps): Upstream | undefined {
  return namespace === undefined ? undefined : (find(namespace) ?? unknown('the namespace'));
}

/** A pattern admits no Host: that is most often what the mirror itself is called, which `**` would take for a registry. */
function byHost({ host }: UpstreamHints, { find }: UpstreamChoiceDeps): Upstream | undefined {
  const found = host === undefined ? undefined : find(host);
  return found && isByPattern(found) ? undefined : found;
}

/** What a pattern admits counts only where it looks like a registry, as Docker has it: `**` would take every namespace for one. */
function leadingUpstream(first: string, { find }: UpstreamChoiceDeps): Upstream | undefined {
  const host = parseHostName(first);
  const found = host && find(host);
  return found && isByPattern(found) && !/[.:]|^localhost$/.test(first) ? undefined : found;
}

function isByPattern({ name, label }: Upstream): boolean {
  return name !== label;
}

function byPathPrefix({ pathPrefix }: UpstreamHints, { find }: UpstreamChoiceDeps): Upstream | undefined {
  return pathPrefix === undefined ? undefined : (find(pathPrefix) ?? unknown('the path before /v2/'));
}

function unknown(what: string): never {
  throw new OciError('NAME_UNKNOWN', `${what} names no upstream of this mirror`);
}

/** Docker Hub keeps its official images under `library/`, which people leave out. */
function choice(upstream: Upstream, name: string): UpstreamChoice {
  const official = upstream.name === 'docker.io' && !name.includes('/') && isRepository(name);
  return { upstream, repository: parseRepository(official ? `library/${name}` : name) };
}

function splitFirst(name: string): readonly [first: string, rest: string | undefined] {
  const slash = name.indexOf('/');
  return slash === -1 ? [name, undefined] : [name.slice(0, slash), name.slice(slash + 1)];
}
