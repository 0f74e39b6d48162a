import { type RepositoryId, repositoryKey } from '../mirror/ports/repository-id.ts';
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

/** About 40 MB. */
const mostForgotten = 100_000;

/** Tags, by their names. What the mirror writes is newer than what a rebuild has read. */
export class BufferedTags extends BufferedRows<string, BufferedTag> {
  /** Forgotten since a rebuild began, which may have read their records before. Redis may be away for long: of many, the last ones. */
  readonly #forgotten = new Set<string>();
  readonly #mostForgotten: number;

  /** @param limits.mostForgotten for tests. */
  constructor(limits: { readonly mostForgotten?: number } = {}) {
    super();
    this.#mostForgotten = limits.mostForgotten ?? mostForgotten;
  }

  add(tag: BufferedTag, { isRebuilding }: { readonly isRebuilding: boolean }): void {
    const key = tagKey(tag);
    if (tag.source === 'store' && (this.has(key) || this.#forgotten.has(key))) return;
    this.set(key, tag);
    this.#forgotten.delete(key);
    if (tag.digest === undefined && isRebuilding) this.#remember(key);
  }

  #remember(key: string): void {
    this.#forgotten.add(key);
    const [oldest] = this.#forgotten;
    if (oldest !== undefined && this.#forgotten.size > this.#mostForgotten) this.#forgotten.delete(oldest);
  }

  hasTag(tag: Pick<BufferedTag, 'repositoryId' | 'tag'>): boolean {
    return this.has(tagKey(tag));
  }

  endRebuild(): void {
    this.#forgotten.clear();
  }
}

function tagKey({ repositoryId, tag }: Pick<BufferedTag, 'repositoryId' | 'tag'>): string {
  return `${repositoryKey(repositoryId)}:${tag}`;
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
