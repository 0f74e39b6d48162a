import type { RecordKey } from '../../mirror/ports/record-store.ts';
import { type RepositoryId, repositoryKey } from '../../mirror/ports/repository-id.ts';
import type { IndexedContent, Link } from '../../mirror/ports/store-index.ts';
import type { Digest } from '../../oci/digest.ts';
import type { RowWriter, BufferedTag } from './row-writer.ts';
import { NameBuffer } from './name-buffer.ts';
import type { Slice } from '../slice.ts';

/**
 * What is written before a question is answered.
 *
 *     things     content, uses, links and tags: a few for each request
 *     evictions  and the names that evicted manifests gave are taken back
 *     all        and what stored manifests name
 */
export type Depth = 'things' | 'evictions' | 'all';

/**
 * What was noted and is not in the file yet. Taking a note is a Map.set; notes of one thing become one.
 *
 * They are written in this order, so that none needs another that comes later:
 * content, uses, links, uses of repositories, tags, names taken back, names.
 */
export class WriteBuffer {
  readonly #unnamed = new Set<Digest>();
  readonly #names: NameBuffer;
  readonly #contents = new Map<Digest, IndexedContent>();
  readonly #uses = new Map<Digest, number>();
  readonly #links = new Map<string, Link>();
  readonly #repositoryUses = new Map<string, number>();
  readonly #tags = new Map<string, BufferedTag>();
  /** Uses of what the index does not know yet: a rebuild will come by it. */
  readonly #earlyUses = new Map<Digest, number>();
  #isRebuilding = true;

  constructor({ maxNames }: { readonly maxNames: number }) {
    this.#names = new NameBuffer({ maxNames });
  }

  get size(): number {
    return this.sizeOf('all');
  }

  /** Whether evicted manifests still count as naming something. */
  get hasUnnamed(): boolean {
    return this.#unnamed.size > 0;
  }

  sizeOf(depth: Depth): number {
    const things =
      this.#contents.size + this.#uses.size + this.#links.size + this.#repositoryUses.size + this.#tags.size;
    if (depth === 'things') return things;
    return things + this.#unnamed.size + (depth === 'all' ? this.#names.size : 0);
  }

  /** The manifests that name `child`, as far as that is not in the file yet. */
  parentsOf(child: Digest): Iterable<Digest> {
    return this.#names.parentsOf(child);
  }

  isNamed(child: Digest): boolean {
    return this.#names.isNamed(child);
  }

  /** From now on what the file does not know may be found by a rebuild. */
  beginRebuild(): void {
    this.#isRebuilding = true;
  }

  /** Every piece of content is known now: a use of something else is that of something gone. */
  endRebuild(): void {
    this.#isRebuilding = false;
    this.#earlyUses.clear();
  }

  addContent(content: IndexedContent): void {
    const { digest } = content;
    const before = this.#contents.get(digest);
    const usedAtMs = Math.max(content.usedAtMs, before?.usedAtMs ?? 0, this.#earlyUses.get(digest) ?? 0);
    const isManifest = content.isManifest || before?.isManifest === true;
    this.#contents.set(digest, { ...content, names: [], isManifest, usedAtMs });
    this.#names.add(digest, content.names);
    this.#earlyUses.delete(digest);
  }

  addUse(digest: Digest, atMs: number): void {
    this.#uses.set(digest, Math.max(atMs, this.#uses.get(digest) ?? 0));
  }

  addRepositoryUse(of: RepositoryId, atMs: number): void {
    const name = repositoryKey(of);
    this.#repositoryUses.set(name, Math.max(atMs, this.#repositoryUses.get(name) ?? 0));
  }

  addLink(link: Link): void {
    const key = `${link.kind} ${repositoryKey(link.of)} ${link.digest}`;
    const before = this.#links.get(key);
    const mediaType = link.mediaType ?? before?.mediaType;
    this.#links.set(key, { ...link, mediaType, size: link.size ?? before?.size });
  }

  addTag(note: BufferedTag): void {
    const key = tagKey(note);
    if (note.source === 'mirror' || !this.#tags.has(key)) this.#tags.set(key, note);
  }

  /** What a manifest named that is no longer stored. */
  takeBackNames(parent: Digest): void {
    this.#names.delete(parent);
    this.#unnamed.add(parent);
  }

  /** Whether a newer word on a tag waits than the file has. */
  hasTag(tag: Pick<BufferedTag, 'of' | 'tag'>): boolean {
    return this.#tags.has(tagKey(tag));
  }

  /** Drops everything about a digest. @returns the records that the dropped links and tags spoke of. */
  forget(digest: Digest): readonly RecordKey[] {
    this.#contents.delete(digest);
    this.#names.delete(digest);
    this.#uses.delete(digest);
    this.#earlyUses.delete(digest);
    const links = removeWhere(this.#links, (link) => link.digest === digest);
    const tags = removeWhere(this.#tags, (note) => note.digest === digest);
    return [
      ...links.map(({ kind, of }): RecordKey => ({ kind, of, digest })),
      ...tags.map(({ of, tag }): RecordKey => ({ kind: 'tag', of, tag })),
    ];
  }

  /** Drops the links and tags of a repository. @returns the records that these spoke of. */
  forgetRepository(repository: string): readonly RecordKey[] {
    this.#repositoryUses.delete(repository);
    const links = removeWhere(this.#links, ({ of }) => repositoryKey(of) === repository);
    const tags = removeWhere(this.#tags, ({ of }) => repositoryKey(of) === repository);
    return [
      ...links.map(({ kind, of, digest }): RecordKey => ({ kind, of, digest })),
      ...tags.map(({ of, tag }): RecordKey => ({ kind: 'tag', of, tag })),
    ];
  }

  /** Forgets it all. */
  clear(): void {
    for (const notes of [this.#unnamed, this.#contents, this.#uses, this.#links, this.#tags, this.#earlyUses])
      notes.clear();
    this.#repositoryUses.clear();
    this.#names.clear();
  }

  /** Writes what a slice takes. It stays here until the slice is committed. */
  writeSome(writer: RowWriter, slice: Slice, depth: Depth): void {
    slice.each(this.#contents, ([digest, content]) => {
      writer.content(content);
      slice.wrote(1, () => this.#contents.get(digest) === content && this.#contents.delete(digest));
    });
    slice.each(this.#uses, ([digest, atMs]) => {
      const isKnown = writer.use(digest, atMs);
      slice.wrote(1, () => this.#endUse(digest, isKnown ? undefined : atMs));
    });
    slice.each(this.#links, ([key, link]) => {
      writer.link(link);
      slice.wrote(1, () => this.#links.delete(key));
    });
    slice.each(this.#repositoryUses, ([repository, atMs]) => {
      writer.repositoryUse(repository, atMs);
      slice.wrote(1, () => this.#repositoryUses.get(repository) === atMs && this.#repositoryUses.delete(repository));
    });
    slice.each(this.#tags, ([key, note]) => {
      writer.tag(note);
      slice.wrote(1, () => this.#tags.delete(key));
    });
    if (depth !== 'things') slice.each(this.#unnamed, (parent) => this.#writeUnnamed(writer, parent, slice));
    if (depth === 'all' && this.#unnamed.size === 0) this.#names.writeSome(writer, slice);
  }

  #writeUnnamed(writer: RowWriter, parent: Digest, slice: Slice): void {
    const limit = slice.rowsLeft;
    const rows = writer.unname(parent, limit);
    slice.wrote(rows + 1, () => rows < limit && this.#unnamed.delete(parent));
  }

  #endUse(digest: Digest, unplacedAtMs: number | undefined): void {
    this.#uses.delete(digest);
    if (this.#isRebuilding && unplacedAtMs !== undefined) this.#earlyUses.set(digest, unplacedAtMs);
  }
}

function tagKey({ of, tag }: Pick<BufferedTag, 'of' | 'tag'>): string {
  return `${repositoryKey(of)}:${tag}`;
}

function removeWhere<Value>(notes: Map<string, Value>, matches: (value: Value) => boolean): readonly Value[] {
  const removed = [...notes].filter(([, value]) => matches(value));
  for (const [key] of removed) notes.delete(key);
  return removed.map(([, value]) => value);
}
