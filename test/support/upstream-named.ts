import type { Upstream } from '../../src/mirror/ports/upstream.ts';

/** One that must not be asked: choosing is done without. */
export function upstreamNamed(name: string, label = name): Upstream {
  const refuse = async (): Promise<never> => {
    throw new Error('asked');
  };
  return {
    name,
    label,
    maxConnections: 128,
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
