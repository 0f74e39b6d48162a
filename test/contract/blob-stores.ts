import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import type { BlobStore, CorruptionSource } from '../../src/mirror/ports/blob-store.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { FileBlobStore } from '../../src/storage/filesystem/blob-store.ts';
import { blobPath } from '../../src/storage/layout.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

export interface Subject {
  readonly store: BlobStore;
  /** What was reported as corrupt, and by what it was found. */
  readonly corrupt: readonly { readonly digest: Digest; readonly source: CorruptionSource }[];
  readonly clock: ManualClock;
  /** Puts other bytes where a blob is, behind the store's back. */
  readonly replace: (digest: Digest, bytes: Uint8Array) => Promise<void>;
}

async function onFilesystem(): Promise<Subject> {
  const path = await temporaryDirectory();
  const clock = new ManualClock();
  const corrupt: { digest: Digest; source: CorruptionSource }[] = [];
  const store = new FileBlobStore({
    path,
    clock,
    failpoint: () => {},
    observer: {
      corruptionFound: (event) => corrupt.push(event),
      internalError: ({ cause }) => expect.fail(String(cause)),
    },
  });
  await store.prepare();
  const replace = async (digest: Digest, bytes: Uint8Array): Promise<void> => {
    const file = join(path, blobPath(digest));
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, bytes);
  };
  return { store, corrupt, clock, replace };
}

/** Every blob store there is, empty. */
export const blobStores: readonly { readonly name: string; readonly subject: () => Promise<Subject> }[] = [
  { name: 'on the file system', subject: onFilesystem },
];
