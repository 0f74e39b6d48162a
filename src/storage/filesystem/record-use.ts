import { blockBytes, bytesOnDisk, type DiskUse } from '../../mirror/ports/record-store.ts';

/** Counts the disk use of the records' folders, and of the records that no index counts. */
export class RecordUse {
  /** Bytes on the disk by path. */
  readonly #sizes = new Map<string, number>();
  #bytes = 0;
  #folders = 0;

  get total(): DiskUse {
    const folders = Math.max(0, this.#folders);
    return { bytes: this.#bytes + folders * blockBytes, files: this.#sizes.size + folders };
  }

  has(path: string): boolean {
    return this.#sizes.has(path);
  }

  set(path: string, size: number): void {
    this.remove(path);
    this.#sizes.set(path, bytesOnDisk(size));
    this.#bytes += bytesOnDisk(size);
  }

  remove(path: string): void {
    this.#bytes -= this.#sizes.get(path) ?? 0;
    this.#sizes.delete(path);
  }

  foldersChanged(change: number): void {
    this.#folders += change;
  }

  /** Counts the folders of a walk. A folder that is created or removed during the walk may be counted wrongly until the next walk. */
  countFolders(): { readonly onFolder: () => void; readonly end: () => void } {
    const before = this.#folders;
    let found = 0;
    return {
      onFolder: () => {
        found += 1;
      },
      end: () => {
        this.#folders += found - before;
      },
    };
  }
}
