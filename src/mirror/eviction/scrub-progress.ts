import { isJsonObject, parseJson } from '../../oci/json.ts';
import { refusesForNow } from '../ports/blob-store.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';

export interface ScrubProgressDeps {
  /** In the store, so that it outlives the process. */
  readonly file: {
    /** Undefined if there is none. */
    read(): Promise<Buffer | undefined>;
    write(bytes: Uint8Array): Promise<void>;
  };
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'internalError'>;
}

/** Times are in milliseconds since the epoch. */
interface Round {
  /** When the round in progress began, or the last one. Undefined before the first. */
  readonly startedAtMs?: number;
  /** The last digest that was read in the round in progress, as hex; empty at its beginning. Undefined between rounds. */
  readonly after?: string;
  /** When all stored content was last read from the beginning to the end. */
  readonly completedAtMs?: number;
}

/** After a crash this much is read again. */
const saveEveryMs = 60_000;

/**
 * How far the scrubber is, in a file that outlives the process: a process that restarts more often than a round takes goes on with the
 * round. Nothing depends on the file: one that cannot be read is ignored, and where it cannot be written a restart begins a new round.
 */
export class ScrubProgress {
  readonly #deps: ScrubProgressDeps;
  #round: Round = {};
  #savedAtMs = 0;
  #saving: Promise<void> | undefined;
  #loading: Promise<void> | undefined;

  constructor(deps: ScrubProgressDeps) {
    this.#deps = deps;
  }

  /** Reads the file at the first call. Never rejects. */
  load(): Promise<void> {
    return (this.#loading ??= this.#load());
  }

  /** When the round in progress or the last one began, and when the last full one ended. */
  get times(): Pick<Round, 'startedAtMs' | 'completedAtMs'> {
    return this.#round;
  }

  /** How long to wait for the next round; 0 while one is in progress, and before the first. At most `everyMs`: clocks jump. */
  dueInMs(everyMs: number): number {
    const { startedAtMs, after } = this.#round;
    if (startedAtMs === undefined || after !== undefined) return 0;
    return Math.min(everyMs, Math.max(0, startedAtMs + everyMs - this.#deps.clock.now()));
  }

  /** Begins a round, or goes on with the one in progress. @returns the hex of the digest to go on after; empty: from the beginning. */
  async begin(): Promise<string> {
    if (this.#round.after === undefined) {
      this.#round = { ...this.#round, startedAtMs: this.#deps.clock.now(), after: '' };
      await this.save();
    }
    return this.#round.after ?? '';
  }

  /** Content was read up to this digest. */
  passed(after: string): void {
    this.#round = { ...this.#round, after };
    const isDue = this.#deps.clock.monotonicMs() - this.#savedAtMs >= saveEveryMs;
    if (isDue && !this.#saving) void this.save();
  }

  /** The round in progress has ended. */
  ended(): Promise<void> {
    const { after: _, ...round } = this.#round;
    this.#round = { ...round, completedAtMs: this.#deps.clock.now() };
    return this.save();
  }

  /** Something else has read all stored content. A round in progress goes on. */
  allRead(): Promise<void> {
    this.#round = { ...this.#round, completedAtMs: this.#deps.clock.now() };
    return this.save();
  }

  /** Resolves when the present state is written, or could not be. One write at a time: a disk that hangs holds one. */
  async save(): Promise<void> {
    await this.load(); // Else it would be overwritten.
    await this.#saving;
    await (this.#saving ??= this.#write().finally(() => {
      this.#saving = undefined;
    }));
  }

  async #write(): Promise<void> {
    const { file, clock, observer } = this.#deps;
    this.#savedAtMs = clock.monotonicMs();
    try {
      await file.write(Buffer.from(JSON.stringify(this.#round)));
    } catch (cause) {
      if (!refusesForNow(cause)) observer.internalError({ part: 'scrubber', cause });
    }
  }

  async #load(): Promise<void> {
    const { file, observer } = this.#deps;
    try {
      const bytes = await file.read();
      if (bytes) this.#round = { ...roundIn(bytes), ...this.#round };
    } catch (cause) {
      observer.internalError({ part: 'scrubber', cause });
    }
  }
}

/** @throws Error if the file was not written by this program. Pure. */
function roundIn(bytes: Buffer): Round {
  const value = parseJson(bytes);
  if (!isJsonObject(value)) throw new Error('the progress of the scrubber cannot be read: a new round begins');
  const { startedAtMs, after, completedAtMs } = value;
  return {
    ...(isTime(startedAtMs) && { startedAtMs, ...(isHex(after) && { after }) }),
    ...(isTime(completedAtMs) && { completedAtMs }),
  };
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0;
}

function isHex(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{0,128}$/.test(value);
}
