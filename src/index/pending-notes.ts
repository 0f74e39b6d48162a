import type { IndexedContent, Link, RecordKey } from '../mirror/ports.ts';
import type { Digest } from '../oci/digest.ts';
import type { NoteWriter, TagNote } from './note-writer.ts';
import { fullName } from './repository-name.ts';

interface PendingContent {
  readonly content: IndexedContent;
  /** How many of its names are in the file. */
  readonly namesWritten: number;
}

/**
 * What was noted and is not in the file yet. Taking a note is a Map.set; notes of one thing become one.
 *
 * They are written in this order, so that none needs another that comes later:
 * names taken back, content with its names, uses, links, tags.
 */
export class PendingNotes {
  readonly #unnamed = new Set<Digest>();
  readonly #contents = new Map<Digest, PendingContent>();
  readonly #uses = new Map<Digest, number>();
  readonly #links = new Map<string, Link>();
  readonly #tags = new Map<string, TagNote>();
  /** Uses of what the index does not know yet: a rebuild will come by it. */
  readonly #earlyUses = new Map<Digest, number>();
  #isRebuilding = true;

  get size(): number {
    return this.#unnamed.size + this.#contents.size + this.#uses.size + this.#links.size + this.#tags.size;
  }

  /** Every piece of content is known now: a use of something else is that of something gone. */
  endRebuild(): void {
    this.#isRebuilding = false;
    this.#earlyUses.clear();
  }

  addContent(content: IndexedContent): void {
    const { digest } = content;
    const before = this.#contents.get(digest)?.content;
    const usedAtMs = Math.max(content.usedAtMs, before?.usedAtMs ?? 0, this.#earlyUses.get(digest) ?? 0);
    const isManifest = content.isManifest || before?.isManifest === true;
    const names = content.names.length > 0 ? content.names : (before?.names ?? []);
    this.#contents.set(digest, { content: { ...content, isManifest, names, usedAtMs }, namesWritten: 0 });
    this.#earlyUses.delete(digest);
  }

  addUse(digest: Digest, atMs: number): void {
    this.#uses.set(digest, Math.max(atMs, this.#uses.get(digest) ?? 0));
  }

  addLink(link: Link): void {
    const key = `${link.kind} ${fullName(link.of)} ${link.digest}`;
    const before = this.#links.get(key);
    const mediaType = link.mediaType ?? before?.mediaType;
    this.#links.set(key, { ...link, mediaType, size: link.size ?? before?.size });
  }

  addTag(note: TagNote): void {
    const key = tagKey(note);
    if (note.source === 'mirror' || !this.#tags.has(key)) this.#tags.set(key, note);
  }

  /** What a manifest named that is no longer stored. */
  takeBackNames(parent: Digest): void {
    this.#unnamed.add(parent);
  }

  /** Whether a newer word on a tag waits than the file has. */
  hasTag(tag: Pick<TagNote, 'of' | 'tag'>): boolean {
    return this.#tags.has(tagKey(tag));
  }

  /** Drops everything about a digest. @returns the records that the dropped links and tags spoke of. */
  forget(digest: Digest): readonly RecordKey[] {
    this.#contents.delete(digest);
    this.#uses.delete(digest);
    this.#earlyUses.delete(digest);
    const links = removeWhere(this.#links, (link) => link.digest === digest);
    const tags = removeWhere(this.#tags, (note) => note.digest === digest);
    return [
      ...links.map(({ kind, of }): RecordKey => ({ kind, of, digest })),
      ...tags.map(({ of, tag }): RecordKey => ({ kind: 'tag', of, tag })),
    ];
  }

  /** Forgets it all. */
  clear(): void {
    for (const notes of [this.#unnamed, this.#contents, this.#uses, this.#links, this.#tags, this.#earlyUses])
      notes.clear();
  }

  /**
   * Writes up to `maxRows` rows.
   * @returns what to call once they are committed; until then the notes stay.
   */
  writeSome(writer: NoteWriter, maxRows: number): () => void {
    const slice = new Slice(maxRows);
    slice.each(this.#unnamed, (parent) => this.#writeUnnamed(writer, parent, slice));
    slice.each(this.#contents.values(), (pending) => this.#writeContent(writer, pending, slice));
    slice.each(this.#uses, ([digest, atMs]) => {
      const isKnown = writer.use(digest, atMs);
      slice.wrote(1, () => this.#endUse(digest, isKnown ? undefined : atMs));
    });
    slice.each(this.#links, ([key, link]) => {
      writer.link(link);
      slice.wrote(1, () => this.#links.delete(key));
    });
    slice.each(this.#tags, ([key, note]) => {
      writer.tag(note);
      slice.wrote(1, () => this.#tags.delete(key));
    });
    return () => slice.commit();
  }

  #writeUnnamed(writer: NoteWriter, parent: Digest, slice: Slice): void {
    const limit = slice.rowsLeft;
    const rows = writer.unname(parent, limit);
    slice.wrote(rows + 1, () => rows < limit && this.#unnamed.delete(parent));
  }

  #writeContent(writer: NoteWriter, { content, namesWritten }: PendingContent, slice: Slice): void {
    const { digest, names } = content;
    const end = Math.min(names.length, namesWritten + slice.rowsLeft);
    writer.content(content);
    for (const child of names.slice(namesWritten, end)) writer.name(digest, child);
    slice.wrote(1 + end - namesWritten, () => {
      if (end === names.length) this.#contents.delete(digest);
      else this.#contents.set(digest, { content, namesWritten: end });
    });
  }

  #endUse(digest: Digest, unplacedAtMs: number | undefined): void {
    this.#uses.delete(digest);
    if (this.#isRebuilding && unplacedAtMs !== undefined) this.#earlyUses.set(digest, unplacedAtMs);
  }
}

/** The rows of one transaction, and what follows when it is committed. */
class Slice {
  #rowsLeft: number;
  readonly #afterCommit: (() => void)[] = [];

  constructor(maxRows: number) {
    this.#rowsLeft = maxRows;
  }

  get rowsLeft(): number {
    return this.#rowsLeft;
  }

  each<Note>(notes: Iterable<Note>, write: (note: Note) => void): void {
    for (const note of notes) {
      if (this.#rowsLeft <= 0) return;
      write(note);
    }
  }

  wrote(rows: number, afterCommit: () => void): void {
    this.#rowsLeft -= rows;
    this.#afterCommit.push(afterCommit);
  }

  commit(): void {
    for (const act of this.#afterCommit) act();
  }
}

function tagKey({ of, tag }: Pick<TagNote, 'of' | 'tag'>): string {
  return `${fullName(of)}:${tag}`;
}

function removeWhere<Value>(notes: Map<string, Value>, matches: (value: Value) => boolean): readonly Value[] {
  const removed = [...notes].filter(([, value]) => matches(value));
  for (const [key] of removed) notes.delete(key);
  return removed.map(([, value]) => value);
}
