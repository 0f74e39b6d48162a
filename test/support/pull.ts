import { algorithmOf, type Digest, digestOf, isDigest, parseDigest } from '../../src/oci/digest.ts';
import { namedBy } from '../../src/oci/manifest.ts';

/** Where something can be pulled from. */
export interface Served {
  readonly url: string;
}

/** One answer, all of it. */
export interface Answered {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Buffer;
  /** The mirror's Cache-Status, without its name: `hit`, `fwd=uri-miss; fwd-status=200; stored` … */
  readonly cache: string;
}

/** What a pull brought: its digest, and how each part was answered. */
export interface Pulled {
  readonly digest: Digest;
  readonly parts: ReadonlyMap<Digest, Answered>;
}

/** @throws when the connection breaks before the end of the answer. */
export async function get({ url }: Served, path: string, init: RequestInit = {}): Promise<Answered> {
  const answer = await fetch(`${url}${path}`, init);
  const cache = (answer.headers.get('cache-status') ?? '').replace(/^layerwell; /, '');
  return { status: answer.status, headers: answer.headers, bytes: Buffer.from(await answer.arrayBuffer()), cache };
}

/**
 * Pulls everything of an image as a client that has none of it: all platforms, and what a manifest names all at once.
 * @throws Error when a part is not answered with 200, or is not what its digest promises.
 */
export async function pullAll(from: Served, repository: string, reference: string): Promise<Pulled> {
  const parts = new Map<Digest, Answered>();
  const pullNamed = async (manifest: Answered): Promise<void> => {
    await Promise.all(
      namedBy(manifest.bytes).map(async ({ digest, mediaType }) => {
        const isManifest = /manifest|index/.test(mediaType);
        const answer = await (isManifest ? pullManifest : pullBlob)(from, repository, digest);
        parts.set(digest, answer);
        if (isManifest) await pullNamed(answer);
      }),
    );
  };
  const root = await pullManifest(from, repository, reference);
  const digest = digestIn(root);
  parts.set(digest, root);
  await pullNamed(root);
  return { digest, parts };
}

/** @throws Error when it is not answered with 200, or not with the bytes that the digest names. */
export async function pullBlob(from: Served, repository: string, digest: Digest): Promise<Answered> {
  return whole(await get(from, `/v2/${repository}/blobs/${digest}`), digest);
}

/** Likewise. */
export async function pullManifest(from: Served, repository: string, reference: string): Promise<Answered> {
  const answer = await get(from, `/v2/${repository}/manifests/${reference}`);
  return whole(answer, isDigest(reference) ? reference : digestIn(answer));
}

function digestIn({ status, headers, bytes }: Answered): Digest {
  const digest = headers.get('docker-content-digest');
  if (digest === null) throw new Error(`no digest in an answer of ${status}: ${bytes.toString('utf8')}`);
  return parseDigest(digest);
}

function whole(answer: Answered, digest: Digest): Answered {
  const { status, bytes } = answer;
  if (status !== 200) throw new Error(`${digest} was answered ${status}: ${bytes.toString('utf8')}`);
  if (digestOf(bytes, algorithmOf(digest)) !== digest) throw new Error(`${bytes.length} wrong bytes for ${digest}`);
  return answer;
}
