import type { Digest } from '../../src/oci/digest.ts';
import { FileBlobStore } from '../../src/storage/filesystem/blob-store.ts';
import type { FailpointHook } from '../../src/storage/filesystem/failpoints.ts';
import type { FileSystem } from '../../src/storage/filesystem/file-system.ts';
import { FileRecordStore } from '../../src/storage/filesystem/record-store.ts';
import type { QuarantineLimits } from '../../src/storage/filesystem/quarantine.ts';
import { ManualClock } from './manual-clock.ts';

export interface FileStores {
  readonly store: FileBlobStore;
  readonly records: FileRecordStore;
  readonly clock: ManualClock;
  readonly corrupt: readonly Digest[];
  readonly failures: readonly unknown[];
}

export interface FileStoresOptions {
  readonly path: string;
  readonly files?: FileSystem;
  readonly failpoint?: FailpointHook;
  readonly quarantineLimits?: QuarantineLimits;
  readonly hold?: () => Promise<void>;
}

/** Both stores over one folder, and what they reported. Not prepared yet. */
export function fileStores({ failpoint = () => {}, quarantineLimits, ...options }: FileStoresOptions): FileStores {
  const corrupt: Digest[] = [];
  const failures: unknown[] = [];
  const clock = new ManualClock();
  const observer = {
    corruptionFound: ({ digest }: { digest: Digest }) => corrupt.push(digest),
    internalError: ({ cause }: { cause: unknown }) => failures.push(cause),
  };
  const shared = { ...options, observer, failpoint };
  const store = new FileBlobStore({ ...shared, clock, ...(quarantineLimits && { quarantineLimits }) });
  return { store, records: new FileRecordStore(shared), clock, corrupt, failures };
}
