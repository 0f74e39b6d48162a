import type { RefreshAnswer } from '../../http/management/api/content/refresh-routes.ts';
import { isoOf } from '../../http/management/api/schemas.ts';
import { Problem } from '../../http/management/problems.ts';
import type { Mirror } from '../../mirror/mirror.ts';
import { type RepositoryId, repositoryKey } from '../../mirror/ports/repository-id.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import type { RefreshedTag } from '../../mirror/tags/tags.ts';
import { OciError, UpstreamError } from '../../oci/errors.ts';
import { parseHostName, type Tag } from '../../oci/reference.ts';

/** Asks the upstream now what a cached tag points at. @throws Problem */
export async function refreshTag(
  mirror: Pick<Mirror, 'locate' | 'refresh'>,
  { repositoryId, tag }: { readonly repositoryId: RepositoryId; readonly tag: Tag },
  waiting: Waiting,
): Promise<RefreshAnswer> {
  const name = `${repositoryKey(repositoryId)}:${tag}`;
  const found = await answered(name, () => {
    const namespace = parseHostName(repositoryId.upstream);
    const located = mirror.locate({ namespace, host: undefined, pathPrefix: undefined, name: repositoryId.repository });
    return mirror.refresh(located, tag, waiting);
  });
  if (found === undefined) throw new Problem('not-found', `${name} is not cached`);
  const { before, now } = found;
  if (now.cache.word === 'stale') throw keptProblem(name, found);
  return {
    repository: repositoryKey(repositoryId),
    tag,
    hasMoved: before.digest !== now.record.digest,
    previousDigest: before.digest,
    digest: now.record.digest,
    confirmedAt: isoOf(now.record.confirmedAtMs),
  };
}

async function answered<Answer>(name: string, ask: () => Promise<Answer>): Promise<Answer> {
  try {
    return await ask();
  } catch (cause) {
    if (cause instanceof OciError)
      throw new Problem('not-found', `the upstream has no ${name}: ${cause.message}`, { cause });
    if (!(cause instanceof UpstreamError)) throw cause;
    const kind = cause.status === 502 ? 'upstream-failed' : 'upstream-unavailable';
    throw new Problem(kind, `${name} was not refreshed: ${cause.message}`, {
      cause,
      members: { reason: cause.reason },
    });
  }
}

/** A stale image is served until the upstream tells. */
function keptProblem(name: string, { now }: RefreshedTag): Problem {
  const { reason = 'unknown' } = now.cache;
  if (reason === 'gone') {
    const detail = `the upstream has no ${name}; ${now.record.digest} is kept, by freshness.deletedUpstream`;
    return new Problem('not-found', detail, { members: { reason, digest: now.record.digest } });
  }
  const kind = unusable.has(reason) ? 'upstream-failed' : 'upstream-unavailable';
  const members = { reason, digest: now.record.digest };
  return new Problem(kind, `${name} was not refreshed (${reason}): ${now.record.digest} is kept`, { members });
}

/** It answered, but nothing that can be used; see `freshness.staleOn`. */
const unusable: ReadonlySet<string> = new Set(['tls', 'error', 'refused']);
