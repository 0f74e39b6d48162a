/** How much one transaction may write, so that nobody waits long for the process. */
export interface SliceLimits {
  readonly maxRows: number;
  readonly maxMs: number;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
}

/** The rows of one transaction, and what follows when it is committed. */
export class Slice {
  readonly #limits: SliceLimits;
  readonly #endsAtMs: number;
  #rows = 0;
  readonly #afterCommit: (() => void)[] = [];

  constructor(limits: SliceLimits) {
    this.#limits = limits;
    this.#endsAtMs = limits.now() + limits.maxMs;
  }

  /** How many were written. */
  get rows(): number {
    return this.#rows;
  }

  get rowsLeft(): number {
    return Math.max(0, this.#limits.maxRows - this.#rows);
  }

  get isOver(): boolean {
    return this.rowsLeft === 0 || this.#limits.now() >= this.#endsAtMs;
  }

  each<Note>(notes: Iterable<Note>, write: (note: Note) => void): void {
    for (const note of notes) {
      if (this.isOver) return;
      write(note);
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
