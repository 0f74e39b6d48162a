import { isJsonObject, parseJson } from '../../oci/json.ts';
import { refusesForNow } from '../ports/blob-store.ts';
import type { Observer } from '../ports/observer.ts';
import type { DiskUse } from '../ports/record-store.ts';

export interface UseBounds {
  readonly maxBytes: number;
  /** Files and folders. */
  readonly maxFiles: number;
}

/** What the store will use at most. `isExact`: it is not a guess. */
export interface UseAhead {
  readonly most: DiskUse;
  readonly isExact: boolean;
}

export interface LastUseDeps {
  /** In the store, so that it outlives the process. */
  readonly file: {
    /** Undefined if there is none. */
    read(): Promise<Buffer | undefined>;
    /** Replaces it. On the disk when it resolves. */
    write(bytes: Uint8Array): Promise<void>;
  };
  readonly observer: Pick<Observer, 'internalError'>;
}

/**
 * The most that the store uses, in a file that outlives the process: it is raised before the store grows beyond it. So a process that has lost its
 * index knows how much room there is at least.
 */
export class LastUse {
  readonly #deps: LastUseDeps;
  #saved: DiskUse | undefined;
  #loading: Promise<DiskUse | undefined> | undefined;

  constructor(deps: LastUseDeps) {
    this.#deps = deps;
  }

  /** What is noted at the start. @returns undefined if nothing is, or it cannot be read. */
  load(): Promise<DiskUse | undefined> {
    return (this.#loading ??= this.#load());
  }

  /**
   * Notes what the store will use, if that is not noted yet.
   * @returns up to which use nothing more is to be noted; undefined if the disk does not take the note that `most` needs.
   */
  async note(use: UseAhead, limits: UseBounds): Promise<DiskUse | undefined> {
    this.#saved ??= await this.load();
    const next = nextLastUse(this.#saved, use, limits);
    if (next !== 'stays' && (await this.#save(next))) this.#saved = next;
    if (this.#saved === undefined) return use.most; // The bound counts as noted.
    return isWithin(use.most, this.#saved, limits) ? notedUpTo(use.most, this.#saved, limits) : undefined;
  }

  /** @returns whether it is on the disk. Otherwise the former note is. */
  async #save({ bytes, files }: DiskUse): Promise<boolean> {
    const { file, observer } = this.#deps;
    try {
      await file.write(Buffer.from(JSON.stringify({ bytes, files })));
      return true;
    } catch (cause) {
      if (!refusesForNow(cause)) observer.internalError({ part: 'store', cause });
      return false;
    }
  }

  async #load(): Promise<DiskUse | undefined> {
    const { file, observer } = this.#deps;
    try {
      const bytes = await file.read();
      return bytes && useIn(bytes);
    } catch (cause) {
      observer.internalError({ part: 'store', cause });
      return undefined;
    }
  }
}

/** @throws Error if the file was not written by this program. Pure. */
function useIn(saved: Buffer): DiskUse {
  const value = parseJson(saved);
  const { bytes, files } = isJsonObject(value) ? value : {};
  if (!isCount(bytes) || !isCount(files)) throw new Error('the last use of the disk cannot be read');
  return { bytes, files };
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** How far ahead of the use the note of it is, so that it is seldom written. */
const stepShare = 1 / 64;
const leastStep: DiskUse = { bytes: 64 * 1024 * 1024, files: 4_096 };

/**
 * What is to be noted of the use, for a process that has lost its index: more than `most`, before the store uses that, and less again when it
 * uses much less. `stays`: what is noted. Pure.
 */
export function nextLastUse(
  saved: DiskUse | undefined,
  { most, isExact }: UseAhead,
  limits: UseBounds,
): DiskUse | 'stays' {
  const bound = mostUse(limits);
  const step = stepOf(limits);
  const next = leastOf({ bytes: Math.ceil(most.bytes + step.bytes), files: Math.ceil(most.files + step.files) }, bound);
  if (saved === undefined) return isExact ? next : 'stays';
  const isTooLow = !isWithin({ bytes: most.bytes + step.bytes / 2, files: most.files + step.files / 2 }, saved, limits);
  const isTooHigh = isExact && (saved.bytes - next.bytes > 2 * step.bytes || saved.files - next.files > 2 * step.files);
  return isTooLow || isTooHigh ? next : 'stays';
}

function stepOf(limits: UseBounds): DiskUse {
  const { bytes, files } = mostUse(limits);
  return { bytes: Math.max(leastStep.bytes, bytes * stepShare), files: Math.max(leastStep.files, files * stepShare) };
}

/** Up to half a step below the note; without end, if the note is the bound. */
function notedUpTo(most: DiskUse, saved: DiskUse, limits: UseBounds): DiskUse {
  const [bound, step] = [mostUse(limits), stepOf(limits)];
  return {
    bytes: saved.bytes >= bound.bytes ? Infinity : Math.max(most.bytes, saved.bytes - step.bytes / 2),
    files: saved.files >= bound.files ? Infinity : Math.max(most.files, saved.files - step.files / 2),
  };
}

function isWithin(use: DiskUse, saved: DiskUse, limits: UseBounds): boolean {
  const { bytes, files } = leastOf(use, mostUse(limits));
  return bytes <= saved.bytes && files <= saved.files;
}

export function mostUse({ maxBytes, maxFiles }: UseBounds): DiskUse {
  return { bytes: maxBytes, files: maxFiles };
}

export function leastOf(one: DiskUse, other: DiskUse): DiskUse {
  return { bytes: Math.min(one.bytes, other.bytes), files: Math.min(one.files, other.files) };
}

/** What the store used without what is pending, when that was known, and what had been added by then. */
export interface KnownUse extends DiskUse {
  readonly added: DiskUse;
}

/** @param last what the store used at most when this process began. But it has kept its bound; or it is not to grow. Pure. */
export function atStart(
  { pendingBytes, pendingFiles }: { readonly pendingBytes: number; readonly pendingFiles: number },
  last: DiskUse,
  { added, limits }: { readonly added: DiskUse; readonly limits: UseBounds },
): KnownUse {
  const { bytes, files } = leastOf(last, mostUse(limits));
  return { bytes: Math.max(0, bytes - pendingBytes), files: Math.max(0, files - pendingFiles), added };
}

/**
 * The most that the store can use while the index has not seen all of it: what it used when that was known, and what was added since. Not less
 * than what the index has seen. Pure.
 */
export function mostUsed(
  known: KnownUse,
  {
    storedBytes,
    files,
    pendingFiles,
  }: { readonly storedBytes: number; readonly files: number; readonly pendingFiles: number },
  added: DiskUse,
): { readonly storedBytes: number; readonly files: number } {
  return {
    storedBytes: Math.max(storedBytes, known.bytes + added.bytes - known.added.bytes),
    files: Math.max(files, known.files + added.files - known.added.files + pendingFiles),
  };
}
