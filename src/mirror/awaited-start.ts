import { type BriefWait, TooSlow } from './brief-wait.ts';
import { abortable } from './concurrency/abortable-wait.ts';
import type { RunningDownload, Started } from './downloads.ts';
import type { RepositoryId, Waiting } from './ports.ts';
import { isSameRepository } from './repository-id.ts';

/**
 * Waits for a download that somebody has asked for to begin. What another upstream was asked for is waited for a moment only: one
 * that does not answer must not keep the blobs of the others.
 * @returns undefined when somebody else's start failed.
 * @throws what the own repository's start failed with.
 */
export async function awaitedStart(
  { of, started }: RunningDownload,
  us: RepositoryId,
  { briefWait, signal }: Waiting & { readonly briefWait: BriefWait },
): Promise<Started | 'too-slow' | undefined> {
  if (isSameRepository(of, us)) return abortable(started, signal);
  const unlessFailed = started.catch(() => undefined);
  if (of.upstream === us.upstream) return abortable(unlessFailed, signal);
  try {
    return await briefWait.for(unlessFailed, of.upstream, { signal });
  } catch (cause) {
    if (cause instanceof TooSlow) return 'too-slow';
    throw cause;
  }
}
