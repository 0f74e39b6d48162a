import { OciError, UpstreamError } from '../../oci/errors.ts';
import {
  hostInPath,
  type HostName,
  isRepository,
  parseRepository,
  type Reference,
  type Repository,
} from '../../oci/reference.ts';
import type { Access } from '../access/access.ts';
import type { Upstream, UpstreamDirectory } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';

/** The parts of a request that name an upstream. */
export interface UpstreamHints {
  /** `?ns=`, as containerd and BuildKit send it. */
  readonly namespace: HostName | undefined;
  /** The Host header; undefined if it is no valid host. */
  readonly host: HostName | undefined;
  /** The path before `/v2/`, as in `/ghcr.io/v2/org/app/…` (dockerd and hosts.toml with a path). */
  readonly pathPrefix: HostName | undefined;
  /** The name between `/v2/` and the resource; it may begin with an upstream's name (podman, BuildKit, and people). */
  readonly name: string;
}

export interface UpstreamChoice {
  readonly upstream: Upstream;
  readonly repository: Repository;
}

export interface UpstreamChoiceDeps {
  readonly upstreams: UpstreamDirectory;
  readonly defaultUpstream: Upstream;
}

/**
 * Finds the upstream a request means: by namespace, else by Host, else by a path prefix, else by the name's first component,
 * else the default. Only configured upstreams are ever found: no client input chooses a host.
 * @throws OciError NAME_UNKNOWN when the request names a registry that is not configured; NAME_INVALID.
 */
export function chooseUpstream(hints: UpstreamHints, deps: UpstreamChoiceDeps): UpstreamChoice {
  const named = byNamespace(hints, deps) ?? byHost(hints, deps) ?? byPathPrefix(hints, deps);
  const { host, rest } = splitFirst(hints.name);
  const leading = host && leadingUpstream(host, deps);
  if (named) {
    // BuildKit with a path mirror names the upstream twice: in `ns` and in the name.
    return choice(named, leading === named ? rest : hints.name);
  }
  if (leading) return choice(leading, rest);
  if (host && looksLikeRegistry(host)) throw notConfigured(host);
  return choice(deps.defaultUpstream, hints.name);
}

function byNamespace({ namespace }: UpstreamHints, deps: UpstreamChoiceDeps): Upstream | undefined {
  return namespace && configured(namespace, deps);
}

/** Patterns do not match Host: it is usually the mirror's own name, which `**` would take for a registry. */
function byHost({ host }: UpstreamHints, { upstreams }: UpstreamChoiceDeps): Upstream | undefined {
  const found = host === undefined ? undefined : upstreams.find(host);
  return found && isByPattern(found) ? undefined : found;
}

/** A name that matches a pattern must look like a registry, by Docker's rule: otherwise `**` would match every namespace. */
function leadingUpstream(host: HostName, { upstreams }: UpstreamChoiceDeps): Upstream | undefined {
  const found = upstreams.find(host);
  return found && isByPattern(found) && !looksLikeRegistry(host) ? undefined : found;
}

/** Docker's rule that tells a registry from a namespace in an image name. */
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
function configured(host: HostName, { upstreams }: UpstreamChoiceDeps): Upstream {
  const found = upstreams.find(host);
  if (!found) throw notConfigured(host);
  return found;
}

/** Docker Hub has its official images under `library/`, which users omit. */
function choice(upstream: Upstream, name: string): UpstreamChoice {
  const official = upstream.name === 'docker.io' && !name.includes('/') && isRepository(name);
  return { upstream, repository: parseRepository(official ? `library/${name}` : name) };
}

/** The first component of a name, if it may be a registry, and the rest. */
function splitFirst(name: string): { readonly host: HostName | undefined; readonly rest: string } {
  const slash = name.indexOf('/');
  return { host: slash === -1 ? undefined : hostInPath(name.slice(0, slash)), rest: name.slice(slash + 1) };
}

/** The upstreams of a directory, each behind a guard. */
export class GuardedUpstreams implements UpstreamDirectory {
  readonly #upstreams: UpstreamDirectory;
  readonly #guard: (upstream: Upstream) => Upstream;
  readonly #guarded = new WeakMap<Upstream, Upstream>();

  constructor(upstreams: UpstreamDirectory, guard: (upstream: Upstream) => Upstream) {
    this.#upstreams = upstreams;
    this.#guard = guard;
  }

  /** Returns the same object for the same upstream. */
  find(name: HostName): Upstream | undefined {
    const upstream = this.#upstreams.find(name);
    if (!upstream) return undefined;
    const known = this.#guarded.get(upstream);
    if (known) return known;
    const guarded = this.#guard(upstream);
    this.#guarded.set(upstream, guarded);
    return guarded;
  }
}

export interface GuardRules {
  readonly access: Pick<Access, 'checkBeforeAsking'>;
  /** Whether no request is sent: each one fails at once. */
  readonly isOffline: boolean;
}

/**
 * Wraps an upstream so that each request about a repository first checks that anonymous clients may read it now. An older verdict is enough to
 * serve cached content, but not to fetch more with the mirror's account.
 */
export function guardedUpstream(upstream: Upstream, { access, isOffline }: GuardRules): Upstream {
  return requirePublic(isOffline ? silentUpstream(upstream) : upstream, access);
}

function requirePublic(upstream: Upstream, access: Pick<Access, 'checkBeforeAsking'>): Upstream {
  const { name, label, maxConnections } = upstream;
  async function ifPublic<Value>(
    repository: Repository,
    { reference, waiting }: { readonly reference?: Reference; readonly waiting: Waiting },
    ask: () => Promise<Value>,
  ): Promise<Value> {
    await access.checkBeforeAsking({ upstream, repositoryId: { upstream: name, repository }, reference }, waiting);
    return ask();
  }
  return {
    name,
    label,
    maxConnections,
    headManifest: (repository, reference, waiting) =>
      ifPublic(repository, { reference, waiting }, () => upstream.headManifest(repository, reference, waiting)),
    getManifest: (repository, reference, waiting) =>
      ifPublic(repository, { reference, waiting }, () => upstream.getManifest(repository, reference, waiting)),
    headBlob: (repository, digest, waiting) =>
      ifPublic(repository, { waiting }, () => upstream.headBlob(repository, digest, waiting)),
    openBlob: (repository, digest, waiting) =>
      ifPublic(repository, { waiting }, () => upstream.openBlob(repository, digest, waiting)),
    listTags: (repository, waiting) => ifPublic(repository, { waiting }, () => upstream.listTags(repository, waiting)),
    listReferrers: (repository, digest, waiting) =>
      ifPublic(repository, { reference: digest, waiting }, () => upstream.listReferrers(repository, digest, waiting)),
    askVisibility: (repository, reference, waiting) => upstream.askVisibility(repository, reference, waiting),
    failedVerification: (digest) => upstream.failedVerification(digest),
  };
}

function silentUpstream(upstream: Upstream): Upstream {
  const message = `this is not cached, and ${upstream.name} is not asked while the mirror is offline`;
  return refusingUpstream(upstream, () => new UpstreamError('unavailable', message));
}

/** An upstream whose every answer is an error. */
export function refusingUpstream(
  { name, label, maxConnections }: Pick<Upstream, 'name' | 'label' | 'maxConnections'>,
  error: () => Error,
): Upstream {
  const refuse = async (): Promise<never> => {
    throw error();
  };
  return {
    name,
    label,
    maxConnections,
    headManifest: refuse,
    getManifest: refuse,
    headBlob: refuse,
    openBlob: refuse,
    listTags: refuse,
    listReferrers: refuse,
    askVisibility: refuse,
    failedVerification: () => {},
  };
}
