import type { Clock } from '../../mirror/ports/clock.ts';
import type { Upstream } from '../../mirror/ports/upstream.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { algorithmOf, type Digest, digestOf, isDigest } from '../../oci/digest.ts';
import { UpstreamError } from '../../oci/errors.ts';
import type { Reference } from '../../oci/reference.ts';
import { Distrust } from './distrust.ts';
import type { Endpoint } from './endpoint.ts';

export interface MirrorEndpoint {
  readonly endpoint: Endpoint;
  /** Whether it is asked for what can change as well. */
  readonly tags: boolean;
}

export interface EndpointsDeps {
  /** In the order in which they are tried. */
  readonly mirrors: readonly MirrorEndpoint[];
  readonly registry: Endpoint;
  readonly clock: Clock;
}

/**
 * Asks the mirrors before the registry: what a mirror does not have, or fails to answer, the next one is asked for, and the registry
 * last; its answer counts, be it yes or no. A mirror that may lag behind is asked for content by its digest only. What came wrong from a
 * mirror is asked of the next one from then on.
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
      // What a former process left of it may have come from any of them.
      if (!isKnownBy) for (const { distrust } of watched) distrust.avoid(digest);
    },
  };
}

/** A mirror of which is noted what it sends. */
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
      if (opened.size !== 0 || digest === digestOf(new Uint8Array(), algorithmOf(digest))) return opened;
      opened.body.destroy();
      distrust.wasWrong(digest);
      throw new UpstreamError('misbehaving', `an empty body was sent for ${digest}`);
    },
  };
}

/** @throws what the last one threw; the signal's reason when it aborts. */
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
