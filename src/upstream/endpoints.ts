import type { Waiting } from '../mirror/ports.ts';
import { isDigest } from '../oci/digest.ts';
import type { Reference } from '../oci/reference.ts';
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
}

/**
 * Asks the mirrors before the registry: what a mirror does not have, or fails to answer, the next one is asked for, and the registry
 * last; its answer counts, be it yes or no. A mirror that may lag behind is asked for content by its digest only.
 */
export function createEndpoints({ mirrors, registry }: EndpointsDeps): Endpoint {
  const endpointsFor = (what: 'content' | 'names'): readonly Endpoint[] => {
    const mirrorsFor = mirrors.filter(({ tags }) => tags || what === 'content');
    return [...mirrorsFor.map(({ endpoint }) => endpoint), registry];
  };
  const endpointsOf = (reference: Reference) => endpointsFor(isDigest(reference) ? 'content' : 'names');
  return {
    headManifest: (repository, reference, options) =>
      firstOf(endpointsOf(reference), options, (one) => one.headManifest(repository, reference, options)),
    getManifest: (repository, reference, options) =>
      firstOf(endpointsOf(reference), options, (one) => one.getManifest(repository, reference, options)),
    headBlob: (repository, digest, options) =>
      firstOf(endpointsFor('content'), options, (one) => one.headBlob(repository, digest, options)),
    openBlob: (repository, digest, options) =>
      firstOf(endpointsFor('content'), options, (one) => one.openBlob(repository, digest, options)),
    listTags: (repository, options) =>
      firstOf(endpointsFor('names'), options, (one) => one.listTags(repository, options)),
    listReferrers: (repository, digest, options) =>
      firstOf(endpointsFor('names'), options, (one) => one.listReferrers(repository, digest, options)),
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
