import type { UpstreamRequestKind } from '../../mirror/ports/observer.ts';
import type { RepositoryVisibility } from '../../mirror/ports/upstream.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { OciError } from '../../oci/errors.ts';
import { acceptedManifests } from '../../oci/media-types.ts';
import type { Reference, Repository } from '../../oci/reference.ts';
import { discard } from '../transport/read-at-most.ts';
import type { RegistryRequest, Requests } from './requests.ts';

const kind: UpstreamRequestKind = 'visibility';

/**
 * Whether a repository is readable with `requests`, which are anonymous for visibility checks.
 *
 * It sends a HEAD of the wanted manifest, which Docker Hub does not count as a pull ("Usage and limits: Pulls": a pull is a GET of a
 * manifest). If that gives no answer, because there is no such manifest, none is wanted or HEAD is not supported, it lists one tag instead:
 * a tag that does not exist must not hide a repository.
 *
 * @param requests without any account.
 * @throws UpstreamError when there is no answer.
 */
export async function askVisibility(
  requests: Requests,
  repository: Repository,
  reference: Reference | undefined,
  options: Waiting,
): Promise<RepositoryVisibility> {
  const said = reference && (await askedFor(requests, headOf(requests, repository, reference), options));
  if (said === 'public' || said === 'hidden') return said;
  const listed = await askedFor(requests, oneTagOf(requests, repository), options);
  return listed === 'public' ? 'public' : 'hidden';
}

function headOf(requests: Requests, repository: Repository, reference: Reference): RegistryRequest {
  const headers = { accept: acceptedManifests.join(', ') };
  return { method: 'HEAD', url: requests.urlOf(repository, `manifests/${reference}`), kind, repository, headers };
}

function oneTagOf(requests: Requests, repository: Repository): RegistryRequest {
  const headers = { accept: 'application/json' };
  return { method: 'GET', url: requests.urlOf(repository, 'tags/list?n=1'), kind, repository, headers };
}

type Meaning = RepositoryVisibility | 'nothing-there';

/** A registry without HEAD answers 405 or 501 (RFC 9110 §15.5.6, §15.6.2). */
const meaningOfStatus: ReadonlyMap<number, Meaning> = new Map([
  [200, 'public'],
  [401, 'hidden'],
  [403, 'hidden'],
  [404, 'nothing-there'],
  [405, 'nothing-there'],
  [501, 'nothing-there'],
]);

async function askedFor(requests: Requests, request: RegistryRequest, options: Waiting): Promise<Meaning> {
  try {
    const answer = await requests.ask(request, options);
    const meaning = meaningOfStatus.get(answer.status);
    if (meaning === undefined) throw await requests.failureOf(answer, 'NAME_UNKNOWN');
    await discard(answer);
    return meaning;
  } catch (cause) {
    // Some token endpoints give no anonymous token for private repositories (ghcr.io, GitLab).
    if (cause instanceof OciError && cause.code === 'DENIED') return 'hidden';
    throw cause;
  }
}
