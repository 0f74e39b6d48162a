import { setImmediate as nextTurn } from 'node:timers/promises';
import type { BlobStore } from '../../mirror/ports/blob-store.ts';
import { bytesOnDisk, type RecordStore } from '../../mirror/ports/record-store.ts';
import type { Totals } from '../../mirror/ports/store-index.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';

/** Files or records per turn of the event loop. */
const thingsPerTurn = 100;

/**
 * Counts what is stored, without an index: so the store keeps its bound while the view of it cannot be read. A manifest counts as a blob,
 * and nothing as kept.
 * @throws the store's error, or the signal's reason
 */
export async function countStored({
  store,
  records,
  signal,
}: Waiting & {
  readonly store: Pick<BlobStore, 'list'>;
  readonly records: Pick<RecordStore, 'list'>;
}): Promise<Totals> {
  const counted = { bytes: 0, diskBytes: 0, blobs: 0, records: 0 };
  for await (const { size } of inTurns(store.list(), signal)) {
    counted.bytes += size;
    counted.diskBytes += bytesOnDisk(size);
    counted.blobs += 1;
  }
  for await (const { kind } of inTurns(records.list(), signal))
    if (kind === 'tag' || kind === 'manifest' || kind === 'blob') counted.records += 1;
  return { ...counted, keptBytes: 0, manifests: 0, manifestBytes: 0 };
}

async function* inTurns<Value>(values: AsyncIterable<Value>, signal: AbortSignal): AsyncIterable<Value> {
  let count = 0;
  for await (const value of values) {
    signal.throwIfAborted();
    yield value;
    count += 1;
    if (count % thingsPerTurn === 0) await nextTurn();
  }
}
