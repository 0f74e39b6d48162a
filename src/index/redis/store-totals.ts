import { bytesOnDisk } from '../../mirror/ports/record-store.ts';
import type { EvictableContent, IndexedContent, Totals } from '../../mirror/ports/store-index.ts';
import type { WriteBuffer } from '../write-buffer.ts';

const nothing: Totals = { bytes: 0, manifestBytes: 0, diskBytes: 0, keptBytes: 0, manifests: 0, blobs: 0, records: 0 };

/**
 * The totals of the store, known also while Redis does not answer: only this process changes the store. They are those of the view and of
 * what is not written to it yet; or, while the view lacks something, this process counts alone.
 */
export class StoreTotals {
  #view: Totals = nothing;
  #alone: Totals | undefined;

  /** @param pending what is not in the view yet counts as new: rather too much than too little. */
  known(pending: Pick<WriteBuffer, 'contents' | 'recordCount'>): Totals {
    if (this.#alone) return this.#alone;
    let sum = { ...this.#view, records: this.#view.records + pending.recordCount };
    for (const content of pending.contents.values()) sum = changed(sum, content, 1);
    return sum;
  }

  setView(totals: Totals): void {
    this.#view = totals;
  }

  /** From now on the view does not count, but what the mirror says that it stored and removed. */
  countAlone(pending: Pick<WriteBuffer, 'contents' | 'recordCount'>): void {
    this.#alone = this.known(pending);
  }

  /** The store was counted without the view. */
  counted(totals: Totals): void {
    this.#alone = totals;
  }

  /** The view has all that is stored. */
  followView(): void {
    this.#alone = undefined;
  }

  stored(content: Pick<IndexedContent, 'size' | 'isManifest'>): void {
    if (this.#alone) this.#alone = changed(this.#alone, content, 1);
  }

  recorded(): void {
    if (this.#alone) this.#alone = { ...this.#alone, records: this.#alone.records + 1 };
  }

  /** Content that was removed while the view could not be told. */
  removed(content: Pick<EvictableContent, 'size' | 'isManifest'>): void {
    if (this.#alone) this.#alone = changed(this.#alone, content, -1);
    else this.#view = changed(this.#view, content, -1);
  }
}

function changed(
  totals: Totals,
  { size, isManifest }: Pick<IndexedContent, 'size' | 'isManifest'>,
  by: 1 | -1,
): Totals {
  return {
    ...totals,
    bytes: totals.bytes + by * size,
    manifestBytes: totals.manifestBytes + (isManifest ? by * size : 0),
    diskBytes: totals.diskBytes + by * bytesOnDisk(size),
    manifests: totals.manifests + (isManifest ? by : 0),
    blobs: totals.blobs + (isManifest ? 0 : by),
  };
}
