import { expect } from 'vitest';
import type { Digest } from '../../src/oci/digest.ts';
import { FileBlobStore } from '../../src/storage/filesystem/blob-store.ts';
import type { FailpointHook } from '../../src/storage/filesystem/failpoints.ts';
import type { FileSystem } from '../../src/storage/filesystem/file-system.ts';
import { FileRecordStore } from '../../src/storage/filesystem/record-store.ts';
import type { QuarantineLimits } from '../../src/storage/filesystem/quarantine.ts';
import { ManualClock } from './manual-clock.ts';
import { ScriptedFiles } from './scripted-files.ts';
import { temporaryDirectory } from './temp-directory.ts';

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

export interface ScriptedStores extends FileStores {
  readonly path: string;
  readonly files: ScriptedFiles;
}

/** Both stores over a new folder of a scripted disk. Its calls are counted from now on. */
export async function preparedStores(): Promise<ScriptedStores> {
  const path = await temporaryDirectory();
  const files = new ScriptedFiles();
  const stores = fileStores({ path, files });
  await stores.store.prepare();
  files.calls.length = 0;
  return { ...stores, path, files };
}

/**
 * Runs `work` on new stores whose disk fails at the first call, then on others whose disk fails at the second, and so on until none fails.
 * The error must be the disk's own.
 * @returns the stores after each run, on a disk that works again.
 */
export async function* failingAtEachCall(
  code: string,
  work: (stores: ScriptedStores) => Promise<void>,
): AsyncGenerator<ScriptedStores> {
  for (let failing = 0, isReached = true; isReached; failing += 1) {
    const stores = await preparedStores();
    const { files } = stores;
    files.failWith = (call) => (files.calls.indexOf(call) === failing ? code : undefined);
    const outcome: unknown = await work(stores).then(
      () => code,
      (error: unknown) => (error instanceof Error && 'code' in error ? error.code : error),
    );
    expect(outcome).toBe(code);
    isReached = files.calls.length > failing;
    files.failWith = () => undefined;
    yield stores;
  }
}
