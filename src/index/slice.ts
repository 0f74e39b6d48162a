/** The limits of one transaction, which blocks the event loop. */
export interface SliceLimits {
  readonly maxRows: number;
  readonly maxMs: number;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
}

/** The rows of one transaction, and the callbacks to run after its commit. */
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
