import type { BucketUse } from '../../mirror/ports/observer.ts';
import type { RecordKey } from '../../mirror/ports/record-store.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { type Digest, isDigest } from '../../oci/digest.ts';
import { isJsonObject, parseJson } from '../../oci/json.ts';
import type { BucketLayout } from './bucket-layout.ts';
import type { BucketObjects } from './access/objects.ts';

/** More than the largest record that is kept in a bucket: that of a manifest with the links of a thousand blobs. */
const maxRecordBytes = 512 * 1024;
/** The most links that the record of a manifest carries: as many as a manifest may name. */
const maxCarriedLinks = 1_000;

/** Records as JSON objects in a bucket, the same documents as on disk. Each method is one call. */
export class BucketRecords {
  readonly #deps: { readonly objects: BucketObjects; readonly layout: BucketLayout };

  constructor(deps: { readonly objects: BucketObjects; readonly layout: BucketLayout }) {
    this.#deps = deps;
  }

  /** @returns undefined when it was never written, or is no JSON. */
  async read(key: RecordKey, { signal, kind }: Waiting & { readonly kind?: BucketUse }): Promise<unknown> {
    const { objects, layout } = this.#deps;
    const bytes = await objects.read(layout.record(key), { signal, kind, maxBytes: maxRecordBytes });
    return bytes && parseJson(bytes);
  }

  async write(key: RecordKey, value: object, waiting: Waiting): Promise<void> {
    const { objects, layout } = this.#deps;
    await objects.put(layout.record(key), Buffer.from(JSON.stringify(value)), waiting);
  }

  async remove(key: RecordKey, waiting: Waiting): Promise<void> {
    const { objects, layout } = this.#deps;
    await objects.remove(layout.record(key), waiting);
  }
}

/** The blobs that the record of a manifest says its repository is linked to. Pure. */
export function carriedLinks(manifestRecord: unknown): readonly Digest[] {
  if (!isJsonObject(manifestRecord)) return [];
  const { links } = manifestRecord;
  return Array.isArray(links) ? links.slice(0, maxCarriedLinks).filter(isDigest) : [];
}

/** The record of a manifest as the bucket keeps it. Pure. */
export function withLinks(manifestRecord: object, links: readonly Digest[]): object {
  return { ...manifestRecord, links: links.slice(0, maxCarriedLinks) };
}
