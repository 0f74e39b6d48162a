import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { StoreChanges } from '../../src/index/look-again.ts';
import { SqliteIndex } from '../../src/index/sqlite/sqlite-index.ts';
import { DurableFolders } from '../../src/storage/filesystem/durable-folders.ts';
import { type FileSystem, nodeFiles } from '../../src/storage/filesystem/file-system.ts';
import { ManualClock } from './manual-clock.ts';

export interface StartedIndex {
  readonly index: SqliteIndex;
  readonly failures: readonly unknown[];
}

/** No other process uses the store, so that an index is the last to have seen it. */
export const undisturbed = { lastRun: 'same', run: 'same' };

export const never: AbortSignal = new AbortController().signal;

export interface IndexOptions {
  readonly keep?: readonly string[];
  /** In place of the machine's. */
  readonly files?: FileSystem;
  readonly changes?: StoreChanges;
  readonly maxBufferedWrites?: number;
}

export function indexAt(directory: string, { files = nodeFiles, ...options }: IndexOptions = {}): StartedIndex {
  const failures: unknown[] = [];
  const index = new SqliteIndex({
    ...options,
    path: join(directory, 'index.sqlite'),
    files: new DurableFolders({ files }),
    clock: new ManualClock(),
    runs: undisturbed,
    observer: { internalError: ({ cause }) => failures.push(cause), indexAnswered: () => {} },
  });
  return { index, failures };
}

/** The index of a directory, open until the test has ended. */
export async function startIndex(directory: string, options: IndexOptions = {}): Promise<StartedIndex> {
  const started = indexAt(directory, options);
  await started.index.start();
  onTestFinished(() => started.index.stop());
  return started;
}

/** One that nothing was noted in, and that has nothing to wait for. */
export async function startCompleteIndex(directory: string, options: IndexOptions = {}): Promise<StartedIndex> {
  const started = await startIndex(directory, options);
  await started.index.completeRebuild({ signal: never });
  return started;
}
