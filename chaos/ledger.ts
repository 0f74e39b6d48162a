/** A broken promise. */
export interface Violation {
  readonly what: string;
  /** Seconds since the run began. */
  readonly atSeconds: number;
}

const maxViolations = 100;

/** Counts events and records violations. */
export class Ledger {
  readonly #startedAtMs = performance.now();
  readonly #counts = new Map<string, Map<string, number>>();
  readonly #violations: Violation[] = [];

  get seconds(): number {
    return (performance.now() - this.#startedAtMs) / 1_000;
  }

  get violations(): readonly Violation[] {
    return this.#violations;
  }

  /** Counts `what` in a chapter such as `faults`. */
  count(chapter: string, what: string): void {
    const lines = this.#counts.get(chapter) ?? new Map<string, number>();
    lines.set(what, (lines.get(what) ?? 0) + 1);
    this.#counts.set(chapter, lines);
  }

  /** The counts of one chapter, highest first. */
  lines(chapter: string): readonly (readonly [string, number])[] {
    return [...(this.#counts.get(chapter) ?? [])].toSorted(([, a], [, b]) => b - a);
  }

  total(chapter: string): number {
    return this.lines(chapter).reduce((sum, [, count]) => sum + count, 0);
  }

  violate(what: string): void {
    if (this.#violations.length < maxViolations) this.#violations.push({ what, atSeconds: Math.round(this.seconds) });
    process.stderr.write(`violation after ${Math.round(this.seconds)} s: ${what}\n`);
  }
}
