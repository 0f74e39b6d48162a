import { cursorOf } from '../../http/management/api/pages.ts';
import { isoOf } from '../../http/management/api/schemas.ts';
import type { PinAnswer, PinsAdministration, PinsAnswer } from '../../http/management/api/content/pins-routes.ts';
import { Problem } from '../../http/management/problems.ts';
import type { Pin } from '../../mirror/administration/pins/pin-set.ts';
import { type KeptPin, mostPins, type PinRefusal, Pins } from '../../mirror/administration/pins/pins.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { anyGlobMatcher } from '../../oci/reference.ts';
import { DurableFolders } from '../../storage/filesystem/durable-folders.ts';
import type { FileSystem } from '../../storage/filesystem/file-system.ts';
import { StateFile } from '../../storage/filesystem/state-file.ts';
import { damagedPinsFile, pinsFile } from '../../storage/layout.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Part } from '../lifecycle.ts';
import type { Stores } from '../stores.ts';

export interface StorePinsDeps {
  readonly stores: Pick<Stores, 'index' | 'lock'>;
  readonly files: FileSystem;
  /** The storage path. */
  readonly path: string;
  /** What the configuration keeps, as globs. */
  readonly keep: readonly string[];
  readonly maxBytes: number;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'internalError'>;
  readonly log: Pick<Log, 'logger'>;
}

/** 10,000 pins of about 600 bytes. */
const maxFileBytes = 8 * 1024 * 1024;
const measureEveryMs = 10 * 60_000;

/** The pins of a store, which are kept in a file of it. */
export class StorePins implements Part, PinsAdministration {
  readonly name = 'pins';
  readonly pins: Pins;
  readonly #deps: StorePinsDeps;
  readonly #file: StateFile;
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #isReadable = true;

  constructor(deps: StorePinsDeps) {
    this.#deps = deps;
    this.#file = this.#fileNamed(pinsFile);
    const save = (text: string) => this.#save(text);
    this.pins = new Pins({ ...deps, index: deps.stores.index, isKept: anyGlobMatcher(deps.keep), save });
  }

  async start(): Promise<void> {
    await this.#restore();
    this.#timer = setInterval(() => this.#measure(), measureEveryMs).unref();
    this.#measure();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#stopping.abort();
  }

  list({ limit, cursor }: { readonly limit: number; readonly cursor?: string | undefined }): PinsAnswer {
    const kept = this.#deps.keep.map((glob) => ({ place: `0${glob}`, item: { pin: glob, isRemovable: false } }));
    const pinned = this.pins.list().map((one) => ({ place: `1${one.text}`, item: answerOf(one) }));
    const left = [...kept.toSorted((one, other) => (one.place < other.place ? -1 : 1)), ...pinned].filter(
      ({ place }) => cursor === undefined || place > cursor,
    );
    const page = left.slice(0, limit);
    const last = page.at(-1)?.place;
    const items = page.map(({ item }) => item);
    const next = left.length > limit && last !== undefined ? { nextCursor: cursorOf(last) } : {};
    return { items, ...next, pinnedBytes: this.pins.bytes };
  }

  async add(pin: Pin, waiting: Waiting): Promise<PinAnswer> {
    const added = await this.#changing(() => this.pins.add(pin, waiting));
    if (typeof added === 'string') throw refusals[added](pin.text);
    return answerOf(added);
  }

  async remove(pin: Pin, waiting: Waiting): Promise<PinAnswer> {
    const known = this.pins.list().find(({ text }) => text === pin.text);
    const isRemoved = await this.#changing(() => this.pins.remove(pin.text, waiting));
    if (isRemoved && known) return answerOf(known);
    if (this.#deps.keep.includes(pin.text))
      throw new Problem('refused', `${pin.text} is kept by the configuration (storage.keep): it is no pin`);
    throw new Problem('not-found', `${pin.text} is not pinned`);
  }

  async #changing<Answer>(change: () => Promise<Answer>): Promise<Answer> {
    if (!this.#isReadable)
      throw new Problem('unavailable', `the disk could not read ${pinsFile} at start; see the log`);
    return change();
  }

  async #save(text: string): Promise<void> {
    try {
      await this.#file.write(Buffer.from(text));
    } catch (cause) {
      throw new Problem('unavailable', 'the disk does not take the pins: nothing has changed', { cause });
    }
  }

  /** Pins that cannot be read must not be overwritten; a damaged file is renamed. */
  async #restore(): Promise<void> {
    const { log } = this.#deps;
    let bytes: Buffer | undefined;
    try {
      bytes = await this.#file.read();
      if (bytes === undefined || this.pins.restore(parsed(bytes))) return;
      log.logger.error({ file: damagedPinsFile }, 'the pins are damaged: nothing is pinned; the file is renamed');
      await this.#fileNamed(damagedPinsFile).write(bytes);
    } catch (cause) {
      this.#isReadable = false;
      log.logger.error({ err: cause }, 'the pins cannot be read: nothing is pinned, and no pin can be changed');
    }
  }

  /** How much is pinned decides whether it is worth to evict what is not. */
  #measure(): void {
    const { signal } = this.#stopping;
    if (this.pins.isEmpty) return;
    const measured = this.#deps.stores.index.whenComplete({ signal }).then(() => this.pins.measure({ signal }));
    void measured.catch((cause: unknown) => {
      if (!signal.aborted) this.#deps.observer.internalError({ part: 'pins', cause });
    });
  }

  #fileNamed(name: string): StateFile {
    const { stores, files, path, observer } = this.#deps;
    const folders = new DurableFolders({ files });
    const hold = () => stores.lock.hold();
    return new StateFile({ name, path, files, folders, observer, maxBytes: maxFileBytes, failpoint: undefined, hold });
  }
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}

function answerOf({ text, atMs }: KeptPin): PinAnswer {
  return { pin: text, pinnedAt: isoOf(atMs), isRemovable: true };
}

const refusals: Readonly<Record<PinRefusal, (text: string) => Problem>> = {
  'too-many': () => new Problem('refused', `there are ${mostPins} pins already: remove some, or use a glob`),
  'too-many-globs': () => new Problem('refused', 'there are too many pins with globs already: remove some'),
  'too-much': (text) =>
    new Problem('refused', `${text} would keep more than 90 % of storage.maxSize, together with what is kept already`),
  unknown: () =>
    new Problem(
      'unavailable',
      'the index cannot tell now how much that is: it is being rebuilt (isIndexComplete in stats), or its disk is full or fails (the log)',
    ),
};
