import type { HostName } from '../oci/host-name.ts';
import type { Reference, Repository } from '../oci/reference.ts';
import type { Access } from './access.ts';
import type { Upstream, UpstreamDirectory } from './ports/upstream.ts';
import type { Waiting } from './ports/waiting.ts';

/**
 * The same upstreams, but each question to them about a repository first makes sure that anonymous clients may read it now. What is cached is
 * served by an older verdict; what the mirror's account still has to fetch is not.
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
    await access.checkBeforeAsking({ upstream, of: { upstream: name, repository }, reference }, waiting);
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
