import { abortable } from './concurrency/abortable-wait.ts';
import type { RunningDownload, Started } from './downloads.ts';
import type { RepositoryId, Waiting } from './ports.ts';
import { isSameRepository } from './repository-id.ts';

/**
 * Waits for a download of the same upstream, that somebody has asked for, to begin.
 * @returns undefined when the start that another repository asked for failed.
 * @throws what the own repository's start failed with.
 */
export async function awaitedStart(
  { of, started }: RunningDownload,
  us: RepositoryId,
  { signal }: Waiting,
): Promise<Started | undefined> {
  return abortable(isSameRepository(of, us) ? started : started.catch(() => undefined), signal);
}
