import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { databaseSuffixes } from '../../src/index/sqlite/schema.ts';
import type { FileSystem, OpenFile } from '../../src/storage/filesystem/file-system.ts';
import type { Dice } from './power-loss-disk.ts';

/** What a disk reads and writes at once. */
const blockBytes = 4096;

/** The files of an index by their ends. */
export type IndexBytes = ReadonlyMap<string, Buffer>;

/**
 * Knows which bytes of an index's files, which SQLite writes to a real disk, a power failure may lose: each block that was changed since the
 * last sync, on its own, and the length. The index syncs its files through a {@link FileSystem}, except at its start: {@link allSynced}.
 */
export class PowerLossIndex {
  readonly #path: string;
  readonly #synced = new Map<string, Buffer>();

  /** @param path of the index. */
  constructor(path: string) {
    this.#path = path;
  }

  /** Whatever the files have now stays. */
  allSynced(): void {
    for (const end of databaseSuffixes) this.#fileSynced(end);
  }

  /** A file system whose syncs of the index's files count. */
  over(files: FileSystem, onSync: () => void = () => {}): FileSystem {
    return { ...files, open: async (path, use) => this.#watched(path, await files.open(path, use), onSync) };
  }

  /** @returns what a power failure now leaves. */
  afterPowerLoss(fate: Dice): IndexBytes {
    return new Map(databaseSuffixes.map((end) => [end, surviving(this.#synced.get(end), this.#bytes(end), fate)]));
  }

  #watched(path: string, file: OpenFile, onSync: () => void): OpenFile {
    const end = databaseSuffixes.find((suffix) => path === `${this.#path}${suffix}`);
    if (end === undefined) return file;
    const sync = async (): Promise<void> => {
      onSync();
      const bytes = this.#bytes(end);
      await file.sync();
      this.#synced.set(end, bytes);
    };
    return { ...file, sync };
  }

  #fileSynced(end: string): void {
    this.#synced.set(end, this.#bytes(end));
  }

  #bytes(end: string): Buffer {
    const path = `${this.#path}${end}`;
    return statSync(path, { throwIfNoEntry: false }) ? readFileSync(path) : Buffer.alloc(0);
  }
}

/** Puts what was left in the place of an index's files. */
export function writeIndex(path: string, left: IndexBytes): void {
  for (const end of databaseSuffixes) rmSync(`${path}${end}`, { force: true });
  for (const [end, bytes] of left) if (bytes.length > 0) writeFileSync(`${path}${end}`, bytes);
}

function surviving(synced: Buffer = Buffer.alloc(0), bytes: Buffer, fate: Dice): Buffer {
  const length = fate() < 0.5 ? bytes.length : synced.length;
  const left = Buffer.alloc(length);
  for (let at = 0; at < length; at += blockBytes) {
    const block = fate() < 0.5 ? bytes : synced;
    left.set(block.subarray(at, Math.min(at + blockBytes, length)), at);
  }
  return left;
}
