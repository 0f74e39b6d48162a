import { setTimeout as sleep } from 'node:timers/promises';
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
import { StateFile, TooLong } from '../../storage/filesystem/state-file.ts';
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
  /** Resolves after `ms`. @throws when the signal aborts first. */
  readonly wait?: ((ms: number, waiting: Waiting) => Promise<unknown>) | undefined;
}

/** 10,000 pins of about 600 bytes. */
const maxFileBytes = 8 * 1024 * 1024;
const measureEveryMs = 10 * 60_000;
/** A disk that cannot read the pins is asked again, less often each time. */
const firstRetryMs = 1_000;
const longestRetryMs = 60_000;

const unreadable = 'the pins cannot be read: until they can be, nothing is evicted, and no pin can be changed';
const uncopied = 'the pins are damaged, and cannot be copied: nothing is pinned, and no pin can be changed';

/**
 * The pins of a store, which are kept in a file of it. As long as the disk cannot read them, anything may be pinned: nothing is evicted. The file is
 * read again until the disk can, or an operator has removed it. A damaged file pins nothing.
 */
export class StorePins implements Part, PinsAdministration {
  readonly name = 'pins';
  readonly pins: Pins;
  readonly #deps: StorePinsDeps;
  readonly #file: StateFile;
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  /** Whether the file may be replaced: never before it was read, and a copy of a damaged one was made. */
  #isReplaceable = false;

  constructor(deps: StorePinsDeps) {
    this.#deps = deps;
    this.#file = this.#fileNamed(pinsFile);
    const save = (text: string) => this.#save(text);
    this.pins = new Pins({ ...deps, index: deps.stores.index, isKept: anyGlobMatcher(deps.keep), save });
  }

  async start(): Promise<void> {
    const failure = await this.#restore();
    if (failure) void this.#restoreLater(failure);
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
    return { items, ...next, pinnedBytes: this.pins.bytes, isReadable: this.pins.isKnown };
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
    if (this.#isReplaceable) return change();
    throw new Problem(
      'unavailable',
      `${pinsFile} cannot be read or copied now: no pin can be changed; the log has the reason`,
    );
  }

  async #save(text: string): Promise<void> {
    try {
      await this.#file.write(Buffer.from(text));
    } catch (cause) {
      throw new Problem('unavailable', 'the disk does not take the pins: nothing has changed', { cause });
    }
  }

  /** Never rejects. @returns why it must be tried again; undefined if it need not. */
  async #restore(): Promise<RestoreFailure | undefined> {
    let bytes: Buffer | undefined;
    try {
      bytes = await this.#file.read();
    } catch (cause) {
      if (!(cause instanceof TooLong)) return { cause, text: unreadable };
      this.pins.restore(null);
      return { cause, text: uncopied };
    }
    try {
      if (!this.pins.restore(bytes && parsed(bytes)) && bytes) await this.#keepDamaged(bytes);
    } catch (cause) {
      return { cause, text: uncopied };
    }
    this.#isReplaceable = true;
    return undefined;
  }

  /** @throws the disk's error. */
  async #keepDamaged(bytes: Uint8Array): Promise<void> {
    await this.#fileNamed(damagedPinsFile).write(bytes);
    const text = 'the pins are damaged: nothing is pinned; their file has a copy';
    this.#deps.log.logger.error({ file: damagedPinsFile }, text);
  }

  /** Tries again until it succeeds or this part is stopped. What fails is logged when it changes. Never rejects. */
  async #restoreLater(first: RestoreFailure): Promise<void> {
    const { log, wait = (ms, options) => sleep(ms, undefined, options) } = this.#deps;
    const { signal } = this.#stopping;
    let failure: RestoreFailure | undefined = first;
    for (let ms = firstRetryMs, logged = ''; failure; ms = Math.min(2 * ms, longestRetryMs)) {
      if (failure.text !== logged) log.logger.error({ err: failure.cause }, failure.text);
      logged = failure.text;
      try {
        await wait(ms, { signal });
      } catch {
        return; // Stopped.
      }
      failure = await this.#restore();
    }
    log.logger.info({ pins: this.pins.list().length }, 'the pins have been read');
    this.#measure();
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

interface RestoreFailure {
  readonly cause: unknown;
  /** For the log. */
  readonly text: string;
}

/** @returns null if it is no JSON. */
function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return null;
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
