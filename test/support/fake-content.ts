import type { Digest } from '../../src/oci/digest.ts';
import { type Answer, errorBody } from './fake-answer.ts';
import type { Content, Image, Referrer } from './images.ts';
import { referrersIndex } from './push.ts';

export interface FakeContentOptions {
  /** Whether blobs are served in parts; default true. */
  readonly ranges?: boolean;
  /** Whether `/referrers/` exists; default true. Without it the fallback tag does. */
  readonly referrersApi?: boolean;
  /** Tags in one page of a listing; absent: what the client asks for. */
  readonly tagsPerPage?: number;
}

/** What is asked for, as the path of the distribution API tells it. */
export interface Wanted {
  readonly repository: string;
  readonly kind: string;
  readonly reference: string;
  readonly query: URLSearchParams;
  readonly range: string | undefined;
}

interface Held {
  readonly manifests: Map<string, Content>;
  readonly blobs: Map<string, Content>;
  readonly tags: Map<string, Digest>;
  readonly referrers: Map<string, Referrer[]>;
}

/** What the fake registry holds, and the honest answers about it. */
export class FakeContent {
  /** Added to every answer about a manifest: rate limits, for instance. */
  manifestHeaders: Readonly<Record<string, string>> = {};
  readonly #options: FakeContentOptions;
  readonly #held = new Map<string, Held>();

  constructor(options: FakeContentOptions) {
    this.#options = options;
  }

  add(repository: string, tag: string, image: Image, referrers: readonly Referrer[] = []): void {
    for (const blob of image.blobs) this.addBlob(repository, blob);
    for (const manifest of [...image.children, image.manifest]) this.addManifest(repository, manifest);
    this.tag(repository, tag, image.manifest.digest);
    for (const referrer of referrers) this.#attach(repository, referrer);
  }

  addManifest(repository: string, manifest: Content): void {
    this.#in(repository).manifests.set(manifest.digest, manifest);
  }

  addBlob(repository: string, blob: Content): void {
    this.#in(repository).blobs.set(blob.digest, blob);
  }

  /** Also moves a tag. */
  tag(repository: string, tag: string, digest: Digest): void {
    this.#in(repository).tags.set(tag, digest);
  }

  removeTag(repository: string, tag: string): void {
    this.#in(repository).tags.delete(tag);
  }

  removeRepository(repository: string): void {
    this.#held.delete(repository);
  }

  answer({ repository, kind, reference, query, range }: Wanted): Answer {
    const held = this.#held.get(repository);
    if (!held) return unknown('NAME_UNKNOWN');
    switch (kind) {
      case 'manifests':
        return this.#manifest(held, reference);
      case 'blobs':
        return this.#blob(held, reference, range);
      case 'referrers':
        return this.#referrers(held, reference, query);
      default:
        return this.#tags(held, repository, query);
    }
  }

  #manifest({ manifests, tags }: Held, reference: string): Answer {
    const manifest = manifests.get(tags.get(reference) ?? reference);
    if (!manifest) return unknown('MANIFEST_UNKNOWN');
    const { mediaType, digest, bytes } = manifest;
    return {
      status: 200,
      headers: { 'content-type': mediaType, 'docker-content-digest': digest, ...this.manifestHeaders },
      body: bytes,
    };
  }

  #blob({ blobs }: Held, digest: string, range: string | undefined): Answer {
    const blob = blobs.get(digest);
    if (!blob) return unknown('BLOB_UNKNOWN');
    const headers = { 'content-type': 'application/octet-stream', 'docker-content-digest': digest };
    const size = blob.bytes.length;
    const [, first, last] = (this.#options.ranges !== false && /^bytes=(\d+)-(\d*)$/.exec(range ?? '')) || [];
    if (first === undefined) return { status: 200, headers, body: blob.bytes };
    const start = Number(first);
    if (start >= size) return { status: 416, headers: { 'content-range': `bytes */${size}` }, body: Buffer.alloc(0) };
    const end = last ? Math.min(Number(last), size - 1) : size - 1;
    const contentRange = `bytes ${start}-${end}/${size}`;
    return {
      status: 206,
      headers: { ...headers, 'content-range': contentRange },
      body: blob.bytes.subarray(start, end + 1),
    };
  }

  #referrers({ referrers }: Held, digest: string, query: URLSearchParams): Answer {
    if (this.#options.referrersApi === false) return unknown('UNSUPPORTED');
    const wanted = query.get('artifactType');
    const found = (referrers.get(digest) ?? []).filter(({ artifactType }) => !wanted || artifactType === wanted);
    const { mediaType, bytes } = referrersIndex(found);
    return {
      status: 200,
      headers: { 'content-type': mediaType, ...(wanted && { 'oci-filters-applied': 'artifactType' }) },
      body: bytes,
    };
  }

  #tags({ tags }: Held, repository: string, query: URLSearchParams): Answer {
    const last = query.get('last');
    const rest = [...tags.keys()].sort().filter((tag) => last === null || tag > last);
    const limit = Math.min(Number(query.get('n') ?? rest.length), this.#options.tagsPerPage ?? rest.length);
    const page = rest.slice(0, limit);
    const link = `</v2/${repository}/tags/list?n=${limit}&last=${page.at(-1)}>; rel="next"`;
    return jsonAnswer({ name: repository, tags: page }, page.length > 0 && page.length < rest.length ? { link } : {});
  }

  #attach(repository: string, referrer: Referrer): void {
    const held = this.#in(repository);
    for (const blob of referrer.blobs) this.addBlob(repository, blob);
    this.addManifest(repository, referrer.manifest);
    const attached = [...(held.referrers.get(referrer.subject) ?? []), referrer];
    held.referrers.set(referrer.subject, attached);
    if (this.#options.referrersApi !== false) return;
    const index = referrersIndex(attached);
    this.addManifest(repository, index);
    this.tag(repository, referrer.subject.replace(':', '-'), index.digest);
  }

  #in(repository: string): Held {
    const known = this.#held.get(repository);
    if (known) return known;
    const held: Held = { manifests: new Map(), blobs: new Map(), tags: new Map(), referrers: new Map() };
    this.#held.set(repository, held);
    return held;
  }
}

function unknown(code: string): Answer {
  return { status: 404, headers: { 'content-type': 'application/json' }, body: errorBody(code) };
}

export function jsonAnswer(value: object, headers: Readonly<Record<string, string>> = {}): Answer {
  return {
    status: 200,
    headers: { 'content-type': 'application/json', ...headers },
    body: Buffer.from(JSON.stringify(value)),
  };
}
