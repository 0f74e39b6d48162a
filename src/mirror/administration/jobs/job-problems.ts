/** An operator needs the first of them, and to know how many there are. */
export const mostProblems = 200;
/** An upstream may send any words. */
const longestDetail = 300;

export interface JobProblem {
  /** For people. */
  readonly detail: string;
}

/** The problems of a job: the first of them, and the number of all. */
export class JobProblems<Problem extends JobProblem> {
  readonly #problems: Problem[] = [];
  #count = 0;

  get first(): readonly Problem[] {
    return [...this.#problems];
  }

  get count(): number {
    return this.#count;
  }

  add(problem: Problem): void {
    this.#count += 1;
    if (this.#problems.length >= mostProblems) return;
    this.#problems.push({ ...problem, detail: problem.detail.slice(0, longestDetail) });
  }
}

/** What an error says. Pure. */
export function detailOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
