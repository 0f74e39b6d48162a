import type { RecordKey } from '../mirror/ports/record-store.ts';
import { type RepositoryId, repositoryKey } from '../mirror/ports/repository-id.ts';
import type { IndexedContent, Link } from '../mirror/ports/store-index.ts';
import type { Digest } from '../oci/digest.ts';
import { BufferedRows, type BufferedTag, BufferedTags, type BufferWriter, type Slice } from './buffer-writer.ts';

/**
 * Which buffered writes are applied before a query. `rows`: content, uses, links and tags, a few for each request; `evictions`: also the
 * removal of the names of evicted manifests; `all`: also the names of stored manifests.
 */
export type Depth = 'rows' | 'evictions' | 'all';

/**
 * Writes that are not in the file yet. Buffering one is a Map.set; several writes about one thing become one. They are applied in this order,
 * so that none depends on a later one: content, uses, links, uses of repositories, tags, removed names, names.
 */
export class WriteBuffer {
  readonly #unnamed = new Set<Digest>();
  readonly #names: NameBuffer;
  readonly #contents = new BufferedRows<Digest, IndexedContent>();
  readonly #uses = new BufferedRows<Digest, number>();
  readonly #links = new BufferedRows<string, Link>();
  readonly #repositoryUses = new BufferedRows<string, number>();
  readonly #tags = new BufferedTags();
  readonly #rows = [this.#contents, this.#uses, this.#links, this.#repositoryUses, this.#tags];
  /** Uses of content that the index does not have yet: a running rebuild will add it. */
  readonly #earlyUses = new Map<Digest, number>();
  #isRebuilding = true;

  constructor({ maxNames }: { readonly maxNames: number }) {
    this.#names = new NameBuffer({ maxNames });
  }

  get size(): number {
    return this.sizeOf('all');
  }

  /** Content that is not in the view yet. */
  get contents(): ReadonlyMap<Digest, IndexedContent> {
    return this.#contents;
  }

  /** How many links and tags are not in the view yet. */
  get recordCount(): number {
    return this.#links.size + this.#tags.size;
  }

  get hasDroppedNames(): boolean {
    return this.#names.hasDropped;
  }

  /** Whether names of evicted manifests are still to be removed. */
  get hasUnnamed(): boolean {
    return this.#unnamed.size > 0;
  }

  sizeOf(depth: Depth): number {
    const rows = this.#rows.reduce((sum, { size }) => sum + size, 0);
    if (depth === 'rows') return rows;
    return rows + this.#unnamed.size + (depth === 'all' ? this.#names.size : 0);
  }

  /** @returns a function that tells whether all rows that are buffered now were written. Later ones may be written before them. */
  mark(): () => boolean {
    const marks = this.#rows.map((rows) => rows.mark());
    return () => marks.every((isWritten) => isWritten());
  }

  /** The manifests that name `child`, among the names that are not in the file yet. */
  parentsOf = (child: Digest): Iterable<Digest> => this.#names.parentsOf(child);

  isNamed = (child: Digest): boolean => this.#names.isNamed(child);

  /** From now on, content that is not in the file may be found by a rebuild. */
  beginRebuild(): void {
    this.#isRebuilding = true;
  }

  /** All content is in the index: uses of other content are dropped. */
  endRebuild(): void {
    this.#isRebuilding = false;
    this.#earlyUses.clear();
    this.#tags.endRebuild();
  }

  addContent(content: IndexedContent): void {
    const { digest } = content;
    const before = this.#contents.get(digest);
    const usedAtMs = Math.max(content.usedAtMs, before?.usedAtMs ?? 0, this.#earlyUses.get(digest) ?? 0);
    const isManifest = content.isManifest || before?.isManifest === true;
    const hasRoom = this.#names.add(digest, content.names);
    const image = hasRoom ? (content.image ?? before?.image) : undefined; // There are as many images in it as names, at most.
    this.#contents.set(digest, { ...content, names: [], isManifest, usedAtMs, image });
    this.#earlyUses.delete(digest);
  }

  addUse(digest: Digest, atMs: number): void {
    this.#uses.set(digest, Math.max(atMs, this.#uses.get(digest) ?? 0));
  }

  /** Keeps the use of content that the index does not have yet, while a rebuild may find it. */
  keepEarlyUse(digest: Digest, atMs: number): void {
    if (this.#isRebuilding) this.#earlyUses.set(digest, atMs);
  }

  addRepositoryUse(repositoryId: RepositoryId, atMs: number): void {
    const name = repositoryKey(repositoryId);
    this.#repositoryUses.set(name, Math.max(atMs, this.#repositoryUses.get(name) ?? 0));
  }

  addLink(link: Link): void {
    const key = `${link.kind} ${repositoryKey(link.repositoryId)} ${link.digest}`;
    const before = this.#links.get(key);
    const { mediaType = before?.mediaType, size = before?.size, usedAtMs = before?.usedAtMs } = link;
    this.#links.set(key, { ...link, mediaType, size, usedAtMs });
  }

  addTag(tag: BufferedTag): void {
    this.#tags.add(tag, { isRebuilding: this.#isRebuilding });
  }

  /** Removes the names of a manifest that is no longer stored. */
  takeBackNames(parent: Digest): void {
    this.#names.delete(parent);
    this.#unnamed.add(parent);
  }

  /** Names of a manifest are left in the view: they are removed before names are written. */
  unnameLater(parent: Digest): void {
    this.#unnamed.add(parent);
  }

  /** Whether a write about the tag is buffered: it is newer than the file. */
  hasTag(tag: Pick<BufferedTag, 'repositoryId' | 'tag'>): boolean {
    return this.#tags.hasTag(tag);
  }

  /** Drops everything about a digest. @returns the records of the dropped links and tags. */
  forget(digest: Digest): readonly RecordKey[] {
    for (const buffer of [this.#contents, this.#names, this.#uses, this.#earlyUses]) buffer.delete(digest);
    const links = removeWhere(this.#links, (link) => link.digest === digest);
    const tags = removeWhere(this.#tags, (tag) => tag.digest === digest);
    return recordsOf(links, tags);
  }

  /** Drops the links and tags of a repository. @returns their records. */
  forgetRepository(repository: string): readonly RecordKey[] {
    this.#repositoryUses.delete(repository);
    const links = removeWhere(this.#links, ({ repositoryId }) => repositoryKey(repositoryId) === repository);
    const tags = removeWhere(this.#tags, ({ repositoryId }) => repositoryKey(repositoryId) === repository);
    return recordsOf(links, tags);
  }

  clear(): void {
    for (const buffer of [...this.#rows, this.#unnamed, this.#earlyUses, this.#names]) buffer.clear();
  }

  /** Applies as many writes as the slice takes. They stay buffered until the slice is committed; what is buffered anew by then stays. */
  writeSome(writer: BufferWriter, slice: Slice, depth: Depth): void {
    slice.each(this.#contents, ([digest, content]) => {
      writer.content(content);
      slice.wrote(1, () => this.#contents.wrote(digest, content));
    });
    slice.each(this.#uses, ([digest, atMs]) => {
      const isKnown = writer.use(digest, atMs);
      slice.wrote(1, () => {
        this.#uses.wrote(digest, atMs);
        if (!isKnown) this.keepEarlyUse(digest, atMs);
      });
    });
    slice.each(this.#links, ([key, link]) => {
      writer.link(link);
      slice.wrote(1, () => this.#links.wrote(key, link));
    });
    slice.each(this.#repositoryUses, ([repository, atMs]) => {
      writer.repositoryUse(repository, atMs);
      slice.wrote(1, () => this.#repositoryUses.wrote(repository, atMs));
    });
    slice.each(this.#tags, ([key, tag]) => {
      writer.tag(tag);
      slice.wrote(1, () => this.#tags.wrote(key, tag));
    });
    if (depth !== 'rows') slice.each(this.#unnamed, (parent) => this.#writeUnnamed(writer, parent, slice));
    if (depth === 'all' && this.#unnamed.size === 0) this.#names.writeSome(writer, slice);
  }

  #writeUnnamed(writer: BufferWriter, parent: Digest, slice: Slice): void {
    const limit = slice.rowsLeft;
    const rows = writer.unname(parent, limit);
    slice.wrote(rows + 1, () => rows < limit && this.#unnamed.delete(parent));
  }
}

function recordsOf(links: readonly Link[], tags: readonly BufferedTag[]): readonly RecordKey[] {
  const ofTags = tags.map(({ repositoryId, tag }): RecordKey => ({ kind: 'tag', repositoryId, tag }));
  return [...links.map(({ kind, repositoryId, digest }) => ({ kind, repositoryId, digest })), ...ofTags];
}

function removeWhere<Value>(writes: Map<string, Value>, matches: (value: Value) => boolean): readonly Value[] {
  const removed = [...writes].filter(([, value]) => matches(value));
  for (const [key] of removed) writes.delete(key);
  return removed.map(([, value]) => value);
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
