import { join } from 'node:path';
import { failedWith, type FileSystem, type OpenFile, readUpTo } from '../../storage/filesystem/file-system.ts';
import { decodedLines, isBefore, lineOf, type LoggedEvent, type Position } from './log-lines.ts';

export interface EventLogDeps {
  /** It is created when the first event is written. */
  readonly folder: string;
  readonly maxBytes: number;
  readonly files: FileSystem;
  /** Resolves when this process may write to the store. @throws when it may not. */
  readonly hold: () => Promise<void>;
  /** The oldest events are removed now, because there is no space for newer ones. */
  readonly onDropped: (events: readonly LoggedEvent[]) => void;
  /** So many lines, or a whole segment, could not be read, and are skipped. */
  readonly onDamaged: (event: { readonly segment: number; readonly lines: number; readonly cause?: unknown }) => void;
}

/** The log is dropped in pieces of this share. */
const segments = 8;
/** Every start of the process begins a file. */
const maxFiles = 1_000;
/** How much is read at a time: more than the longest event. */
const pieceBytes = 256 * 1024;

/**
 * Events in files that are only appended to, oldest first. A process appends to files of its own, so that a line that was cut by a crash is
 * never continued. At most `maxBytes` are kept: the oldest file goes first.
 */
export class EventLog {
  readonly #deps: EventLogDeps;
  /** Sizes of the files by their number, in order. */
  readonly #sizes = new Map<number, number>();
  #file: OpenFile | undefined;
  /** The number of the file that is written to, or will be. */
  #current = 1;

  constructor(deps: EventLogDeps) {
    this.#deps = deps;
  }

  /** Finds what earlier processes have left. @throws the disk's error. */
  async open(): Promise<void> {
    const { files, folder } = this.#deps;
    const found: [number, number][] = [];
    for (const name of await this.#names()) {
      const [, number] = /^(\d{12})\.log$/.exec(name) ?? [];
      if (number !== undefined) found.push([Number(number), (await files.stat(join(folder, name))).size]);
    }
    for (const [number, size] of found.toSorted(([one], [other]) => one - other)) this.#sizes.set(number, size);
    this.#current = (found.map(([number]) => number).toSorted((one, other) => other - one)[0] ?? 0) + 1;
  }

  /** On the disk. */
  get bytes(): number {
    return this.#sizes.values().reduce((sum, size) => sum + size, 0);
  }

  /** Where the oldest event is. */
  get first(): Position {
    const [segment = this.#current] = this.#sizes.keys();
    return { segment, offset: 0 };
  }

  /** Where the next event will be. */
  get end(): Position {
    return { segment: this.#current, offset: this.#sizes.get(this.#current) ?? 0 };
  }

  /** How many bytes of lines one call of `append` takes. */
  get segmentBytes(): number {
    return Math.floor(this.#deps.maxBytes / segments);
  }

  /** Writes events, and resolves when they are on the disk. To be called one after another. @throws the disk's error: none of them is in the log. */
  async append(jsons: readonly string[]): Promise<void> {
    const bytes = Buffer.concat(jsons.map(lineOf));
    if (this.end.offset > 0 && this.end.offset + bytes.byteLength > this.segmentBytes) await this.#beginNext();
    while (this.#isFull(bytes.byteLength)) await this.#dropFirst();
    const { offset } = this.end;
    try {
      await this.#deps.hold();
      const file = (this.#file ??= await this.#create());
      await writeAll(file, bytes, offset);
      await file.sync();
      this.#sizes.set(this.#current, offset + bytes.byteLength);
    } catch (cause) {
      const { segment } = this.end;
      await this.#beginNext(); // What was written of these lines is not read in this process.
      if (offset === 0 && this.#sizes.has(segment)) await this.#remove(segment);
      throw cause;
    }
  }

  /** Events from a position on, and where to read on. None at the end of the log, and where everything is damaged: `next` differs then. */
  async read(from: Position): Promise<{ readonly events: readonly LoggedEvent[]; readonly next: Position }> {
    const position = isBefore(from, this.first) ? this.first : from;
    const size = this.#sizes.get(position.segment) ?? 0;
    if (position.offset >= size) return { events: [], next: this.#after(position) };
    try {
      return await this.#readPiece(position, size);
    } catch (cause) {
      if (!this.#sizes.has(position.segment)) return { events: [], next: this.first }; // Dropped meanwhile.
      this.#deps.onDamaged({ segment: position.segment, lines: 0, cause });
      return { events: [], next: { ...position, offset: size } };
    }
  }

  /** Removes the files whose events are all before a position. */
  async release(until: Position): Promise<void> {
    const done = [...this.#sizes.keys()].filter((number) => number < until.segment && number !== this.#current);
    for (const number of done) await this.#remove(number);
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #readPiece(position: Position, size: number) {
    const { files, onDamaged } = this.#deps;
    const { segment, offset } = position;
    const file = await files.open(this.#pathOf(segment), 'read');
    try {
      const from = (into: Uint8Array, at: number) => file.read(into, offset + at);
      const bytes = await readUpTo(Math.min(pieceBytes, size - offset), { read: from });
      const { events, damaged, end } = decodedLines(bytes, position);
      // Without a line break to the end of the piece, no event is there.
      const isStuck = end.offset === offset;
      const lines = damaged + (isStuck ? 1 : 0);
      if (lines > 0) onDamaged({ segment, lines });
      const isShort = bytes.byteLength === 0; // The file was cut.
      return { events, next: isStuck ? { segment, offset: isShort ? size : offset + bytes.byteLength } : end };
    } finally {
      await file.close();
    }
  }

  /** The beginning of the next file, at the end of one. */
  #after(position: Position): Position {
    if (position.segment >= this.#current) return position;
    const next = [...this.#sizes.keys()].find((number) => number > position.segment) ?? this.#current;
    return { segment: next, offset: 0 };
  }

  #isFull(more: number): boolean {
    const isAbove = this.bytes + more > this.#deps.maxBytes || this.#sizes.size > maxFiles;
    return isAbove && this.first.segment !== this.#current;
  }

  async #beginNext(): Promise<void> {
    const { segment } = this.end;
    await this.close().catch(() => {}); // It is written again or given up.
    this.#current = segment + 1;
  }

  async #create(): Promise<OpenFile> {
    const { files, folder } = this.#deps;
    await files.mkdir(folder).catch((cause: unknown) => {
      if (!failedWith(cause, 'EEXIST')) throw cause;
    });
    const file = await files.open(this.#pathOf(this.#current), 'create');
    this.#sizes.set(this.#current, 0);
    return file;
  }

  async #dropFirst(): Promise<void> {
    const { segment } = this.first;
    const events: LoggedEvent[] = [];
    let position: Position = this.first;
    while (position.segment === segment && position.offset < (this.#sizes.get(segment) ?? 0)) {
      const read = await this.read(position);
      events.push(...read.events);
      position = read.next;
    }
    this.#deps.onDropped(events); // While whoever reads them still says that it lacks them.
    await this.#remove(segment);
  }

  /** A file that cannot be removed is not read any more. */
  async #remove(number: number): Promise<void> {
    this.#sizes.delete(number);
    try {
      await this.#deps.files.unlink(this.#pathOf(number));
    } catch (cause) {
      if (!failedWith(cause, 'ENOENT')) this.#deps.onDamaged({ segment: number, lines: 0, cause });
    }
  }

  async #names(): Promise<readonly string[]> {
    const names: string[] = [];
    try {
      for await (const { name } of this.#deps.files.entries(this.#deps.folder)) names.push(name);
    } catch (cause) {
      if (!failedWith(cause, 'ENOENT')) throw cause;
    }
    return names;
  }

  #pathOf(number: number): string {
    return join(this.#deps.folder, `${String(number).padStart(12, '0')}.log`);
  }
}

async function writeAll(file: OpenFile, bytes: Buffer, offset: number): Promise<void> {
  for (let written = 0; written < bytes.byteLength; ) {
    const count = await file.write([bytes.subarray(written)], offset + written);
    if (count === 0) throw new Error('the disk took nothing');
    written += count;
  }
}
