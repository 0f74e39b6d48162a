import type { Digest } from '../../oci/digest.ts';
import type { RowWriter } from './row-writer.ts';
import type { Slice } from '../slice.ts';

interface Unwritten {
  readonly names: readonly Digest[];
  /** How many of them are in the file. */
  readonly written: number;
}

/**
 * The digests that manifests name, until they are in the file. One manifest names up to a thousand, so they are written after everything
 * else, and queries look them up here instead of waiting for the write.
 */
export class NameBuffer {
  readonly #maxNames: number;
  readonly #byParent = new Map<Digest, Unwritten>();
  readonly #byChild = new Map<Digest, Set<Digest>>();
  #count = 0;
  #writtenCount = 0;

  /** @param maxNames how many names may wait, over all manifests; those of further manifests are not indexed. */
  constructor({ maxNames }: { readonly maxNames: number }) {
    this.#maxNames = maxNames;
  }

  /** How many names are not in the file yet. */
  get size(): number {
    return this.#count - this.#writtenCount;
  }

  add(parent: Digest, names: readonly Digest[]): void {
    if (names.length === 0 || this.#byParent.has(parent) || this.#count + names.length > this.#maxNames) return;
    this.#byParent.set(parent, { names, written: 0 });
    this.#count += names.length;
    for (const child of names) {
      const parents = this.#byChild.get(child);
      if (parents) parents.add(parent);
      else this.#byChild.set(child, new Set([parent]));
    }
  }

  /** The manifests that name `child`, among those whose names wait here. */
  parentsOf(child: Digest): Iterable<Digest> {
    return this.#byChild.get(child) ?? [];
  }

  isNamed(child: Digest): boolean {
    return this.#byChild.has(child);
  }

  delete(parent: Digest): void {
    const unwritten = this.#byParent.get(parent);
    if (!unwritten) return;
    this.#byParent.delete(parent);
    this.#count -= unwritten.names.length;
    this.#writtenCount -= unwritten.written;
    for (const child of unwritten.names) {
      const parents = this.#byChild.get(child);
      parents?.delete(parent);
      if (parents?.size === 0) this.#byChild.delete(child);
    }
  }

  clear(): void {
    this.#byParent.clear();
    this.#byChild.clear();
    this.#count = 0;
    this.#writtenCount = 0;
  }

  writeSome(writer: RowWriter, slice: Slice): void {
    slice.each(this.#byParent, ([parent, unwritten]) => this.#write(writer, parent, unwritten, slice));
  }

  #write(writer: RowWriter, parent: Digest, unwritten: Unwritten, slice: Slice): void {
    const { names } = unwritten;
    let { written } = unwritten;
    for (const child of names.slice(written, written + slice.rowsLeft)) {
      if (slice.isOver) break;
      writer.name(parent, child);
      written += 1;
    }
    slice.wrote(written - unwritten.written, () => {
      if (this.#byParent.get(parent) !== unwritten) return;
      if (written === names.length) return this.delete(parent);
      this.#byParent.set(parent, { names, written });
      this.#writtenCount += written - unwritten.written;
    });
  }
}
