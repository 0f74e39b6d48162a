import { UpstreamError } from '../../oci/errors.ts';
import type { Reference, Repository } from '../../oci/reference.ts';
import type { Access } from '../access/access.ts';
import type { Upstream } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';

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
