import type { RepositoryId } from '../mirror/ports/repository-id.ts';
import type { IndexedContent, Link } from '../mirror/ports/store-index.ts';
import type { Digest } from '../oci/digest.ts';
import type { Tag } from '../oci/reference.ts';

export interface BufferedTag {
  readonly repositoryId: RepositoryId;
  readonly tag: Tag;
  /** The digest of the tag; undefined when its record is gone. */
  readonly digest: Digest | undefined;
  /** A write by the mirror is newer than what a rebuild read from the store. */
  readonly source: 'mirror' | 'store';
}

/** Rows of one kind, in the order in which they were buffered. */
export class BufferedRows<Key, Row> extends Map<Key, Row> {
  /** How many were written so far. */
  #written = 0;

  /** To be called after a row was written. One that has changed meanwhile is buffered anew, behind all others. */
  wrote(key: Key, row: Row): void {
    this.#written += 1;
    const latest = this.get(key);
    this.delete(key);
    if (latest !== undefined && latest !== row) this.set(key, latest);
  }

  /** @returns a function that tells whether all rows that are buffered now were written. */
  mark(): () => boolean {
    const end = this.#written + this.size;
    return () => this.size === 0 || this.#written >= end;
  }
}

/** Takes the buffered writes. Writing the same twice changes nothing. */
export interface BufferWriter {
  /** Writes the content without the digests it names. */
  content(content: IndexedContent): void;
  /** @returns whether the content is known. */
  use(digest: Digest, atMs: number): boolean;
  link(link: Link): void;
  /** @param repository as `<upstream>/<repository>`. The use of a repository without links is not recorded. */
  repositoryUse(repository: string, atMs: number): void;
  tag(tag: BufferedTag): void;
  /** Removes up to `limit` names of a manifest that is no longer stored. @returns how many. */
  unname(parent: Digest, limit: number): number;
  /** Writes the names of a manifest, from the position `from` on, as many as the slice takes. @returns how many. */
  names(parent: Digest, children: readonly Digest[], at: { readonly from: number; readonly slice: Slice }): number;
}

/** The limits of one step of writing, which blocks other work. */
export interface SliceLimits {
  readonly maxRows: number;
  readonly maxMs: number;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
}

/** The rows of one step of writing, and the callbacks to run after its commit. */
export class Slice {
  readonly #limits: SliceLimits;
  readonly #endsAtMs: number;
  #rows = 0;
  readonly #afterCommit: (() => void)[] = [];

  constructor(limits: SliceLimits) {
    this.#limits = limits;
    this.#endsAtMs = limits.now() + limits.maxMs;
  }

  /** Rows written so far. */
  get rows(): number {
    return this.#rows;
  }

  get rowsLeft(): number {
    return Math.max(0, this.#limits.maxRows - this.#rows);
  }

  get isOver(): boolean {
    return this.rowsLeft === 0 || this.#limits.now() >= this.#endsAtMs;
  }

  each<Value>(values: Iterable<Value>, write: (value: Value) => void): void {
    for (const value of values) {
      if (this.isOver) return;
      write(value);
    }
  }

  wrote(rows: number, afterCommit: () => void): void {
    this.#rows += rows;
    this.#afterCommit.push(afterCommit);
  }

  commit(): void {
    for (const act of this.#afterCommit) act();
  }
}

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
  #hasDropped = false;

  /** @param maxNames how many names may wait, over all manifests; those of further manifests are not indexed. */
  constructor({ maxNames }: { readonly maxNames: number }) {
    this.#maxNames = maxNames;
  }

  /** Whether names were dropped since the last `clear`. */
  get hasDropped(): boolean {
    return this.#hasDropped;
  }

  /** How many names are not in the file yet. */
  get size(): number {
    return this.#count - this.#writtenCount;
  }

  /** @returns whether there was room for them. */
  add(parent: Digest, names: readonly Digest[]): boolean {
    if (names.length === 0 || this.#byParent.has(parent)) return true;
    const hasRoom = this.#count + names.length <= this.#maxNames;
    this.#hasDropped ||= !hasRoom;
    if (!hasRoom) return false;
    this.#byParent.set(parent, { names, written: 0 });
    this.#count += names.length;
    for (const child of names) {
      const parents = this.#byChild.get(child);
      if (parents) parents.add(parent);
      else this.#byChild.set(child, new Set([parent]));
    }
    return true;
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
    [this.#count, this.#writtenCount, this.#hasDropped] = [0, 0, false];
  }

  writeSome(writer: BufferWriter, slice: Slice): void {
    slice.each(this.#byParent, ([parent, unwritten]) => this.#write(writer, parent, unwritten, slice));
  }

  #write(writer: BufferWriter, parent: Digest, unwritten: Unwritten, slice: Slice): void {
    const { names } = unwritten;
    const written = unwritten.written + writer.names(parent, names, { from: unwritten.written, slice });
    slice.wrote(written - unwritten.written, () => {
      if (this.#byParent.get(parent) !== unwritten) return;
      if (written === names.length) return this.delete(parent);
      this.#byParent.set(parent, { names, written });
      this.#writtenCount += written - unwritten.written;
    });
  }
}
