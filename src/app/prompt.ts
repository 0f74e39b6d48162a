import { timeLimited } from '../mirror/concurrency/abortable-wait.ts';

/** No answer came in time; the work may still be running. */
export class Slow extends Error {
  override readonly name = 'Slow';
  readonly code = 'slow';

  constructor() {
    super('no answer came in time');
  }
}

/**
 * Limits how long callers wait for something that may hang, such as a disk that a probe asks about. Callers at the same time share one call
 * of `ask`, so that calls cannot pile up while it hangs.
 * @returns a function that resolves within `withinMs`. @throws Slow when it does not.
 */
export function prompt<Answer>(
  ask: () => Promise<Answer>,
  { withinMs }: { readonly withinMs: number },
): () => Promise<Answer> {
  let asked: Promise<Answer> | undefined;
  return () => {
    asked ??= ask().finally(() => {
      asked = undefined;
    });
    return timeLimited(asked, withinMs, () => new Slow());
  };
}
