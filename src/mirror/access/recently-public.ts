import type { HostName, Reference, Repository } from '../../oci/reference.ts';
import type { Access } from './access.ts';
import type { Upstream, UpstreamDirectory } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';

/**
 * Wraps upstreams so that each request about a repository first checks that anonymous clients may read it now. An older verdict is enough to
 * serve cached content, but not to fetch more with the mirror's account.
 */
export function askingOnlyWhatIsPublic(
  upstreams: UpstreamDirectory,
  access: Pick<Access, 'checkBeforeAsking'>,
): UpstreamDirectory {
  const guarded = new WeakMap<Upstream, Upstream>();
  return {
    find(name: HostName) {
      const upstream = upstreams.find(name);
      if (!upstream) return undefined;
      const known = guarded.get(upstream) ?? guardedUpstream(upstream, access);
      guarded.set(upstream, known);
      return known;
    },
  };
}

function guardedUpstream(upstream: Upstream, access: Pick<Access, 'checkBeforeAsking'>): Upstream {
  const { name, label, maxConnections } = upstream;
  async function once<Value>(
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
      once(repository, { reference, waiting }, () => upstream.headManifest(repository, reference, waiting)),
    getManifest: (repository, reference, waiting) =>
      once(repository, { reference, waiting }, () => upstream.getManifest(repository, reference, waiting)),
    headBlob: (repository, digest, waiting) =>
      once(repository, { waiting }, () => upstream.headBlob(repository, digest, waiting)),
    openBlob: (repository, digest, waiting) =>
      once(repository, { waiting }, () => upstream.openBlob(repository, digest, waiting)),
    listTags: (repository, waiting) => once(repository, { waiting }, () => upstream.listTags(repository, waiting)),
    listReferrers: (repository, digest, waiting) =>
      once(repository, { reference: digest, waiting }, () => upstream.listReferrers(repository, digest, waiting)),
    askVisibility: (repository, reference, waiting) => upstream.askVisibility(repository, reference, waiting),
    failedVerification: (digest) => upstream.failedVerification(digest),
  };
}
