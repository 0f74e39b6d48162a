import type { Run, Started } from '../downloads/run.ts';
import { isSameRepository, type RepositoryId } from '../ports/repository-id.ts';
import type { Waiting } from '../ports/waiting.ts';

/**
 * Waits for a download of the same upstream, that somebody has asked for, to begin.
 * @returns undefined when the start that another repository asked for failed.
 * @throws what the own repository's start failed with.
 */
export async function awaitedStart(run: Run, us: RepositoryId, waiting: Waiting): Promise<Started | undefined> {
  try {
    return await run.wait(waiting);
  } catch (cause) {
    if (waiting.signal.aborted || isSameRepository(run.of, us)) throw cause;
    return undefined;
  }
}
