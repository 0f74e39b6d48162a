import { timeLimited } from './mirror/concurrency/abortable-wait.ts';

/** It may answer yet, but nobody waits for that. */
export class Slow extends Error {
  override readonly name = 'Slow';
  readonly code = 'slow';

  constructor() {
    super('no answer came in time');
  }
}

/**
 * Asks what may hang, for those who want to know it now: a disk, of an operator's question. While one question is under way everybody waits
 * for that one, so what hangs gathers nothing.
 * @returns a question that is answered within `withinMs`. @throws Slow when it is not.
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
