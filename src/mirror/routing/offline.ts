import { UpstreamError } from '../../oci/errors.ts';
import type { Upstream, UpstreamDirectory } from '../ports/upstream.ts';

/** The same upstreams, but every request to one that is configured as offline fails at once. */
export function withoutAskingOffline(
  upstreams: UpstreamDirectory,
  isOffline: (label: string) => boolean,
): UpstreamDirectory {
  const silenced = new WeakMap<Upstream, Upstream>();
  return {
    find(name) {
      const upstream = upstreams.find(name);
      if (!upstream || !isOffline(upstream.label)) return upstream;
      const silent = silenced.get(upstream) ?? silentUpstream(upstream);
      silenced.set(upstream, silent);
      return silent;
    },
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
