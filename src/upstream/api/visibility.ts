import type { UpstreamRequestKind } from '../../mirror/ports/observer.ts';
import type { RepositoryVisibility } from '../../mirror/ports/upstream.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { OciError } from '../../oci/errors.ts';
import type { Reference, Repository } from '../../oci/reference.ts';
import { discard } from '../transport/read-at-most.ts';
import { askByHead } from './head-record.ts';
import { manifestRequest } from './manifests.ts';
import type { RegistryAnswer, RegistryRequest, Requests } from './requests.ts';

const kind: UpstreamRequestKind = 'visibility';

/**
 * Whether a repository is readable with `requests`, which are anonymous for visibility checks.
 *
 * It sends a HEAD of the wanted manifest, which Docker Hub does not count as a pull ("Usage and limits: Pulls": a pull is a GET of a
 * manifest). A HEAD that is refused though a GET may succeed is followed by a GET. If there is no such manifest, or none is wanted, it lists
 * one tag instead: a tag that does not exist must not hide a repository.
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
  const said = reference && (await byManifest(requests, repository, reference, options));
  if (said === 'public' || said === 'hidden') return said;
  const listing = requests.urlOf(repository, 'tags/list?n=1');
  const headers = { accept: 'application/json' };
  const listed = await unlessDenied(() =>
    byGet(requests, { url: listing, kind, repository, headers }, options, unlisted),
  );
  return listed === 'public' ? 'public' : 'hidden';
}

type Meaning = RepositoryVisibility | 'nothing-there';
type Question = Omit<RegistryRequest, 'method'>;

/** What a refusal says of a repository. Any other status is no verdict. */
const refused: readonly (readonly [number, Meaning])[] = [
  [401, 'hidden'],
  [403, 'hidden'],
  [404, 'nothing-there'],
];
/** A HEAD that got 403 may be followed by a GET that does not (a firewall, or an object store behind a redirect). */
const withoutManifest: ReadonlyMap<number, Meaning> = new Map(refused);
/** A registry without such a listing answers 405 or 501 (RFC 9110 §15.5.6, §15.6.2). */
const unlisted: ReadonlyMap<number, Meaning> = new Map([...refused, [405, 'nothing-there'], [501, 'nothing-there']]);

async function byManifest(
  requests: Requests,
  repository: Repository,
  reference: Reference,
  options: Waiting,
): Promise<Meaning> {
  const question = { ...manifestRequest(requests, repository, reference), kind };
  return unlessDenied(async () => {
    if (requests.hasNoHead('manifest')) return byGet(requests, question, options, withoutManifest);
    const said = await askByHead(question, () => requests.ask({ ...question, method: 'HEAD' }, options));
    // Most registries say so of a repository that they hide: a GET would say the same.
    if (said.refusal === 404) return 'nothing-there';
    if (said.refusal === undefined) return meaningOf(requests, said.answer, withoutManifest);
    const meaning = await byGet(requests, question, options, withoutManifest);
    if (meaning === 'public') requests.recordHead('manifest', said.refusal);
    return meaning;
  });
}

async function byGet(
  requests: Requests,
  question: Question,
  options: Waiting,
  meanings: ReadonlyMap<number, Meaning>,
): Promise<Meaning> {
  return meaningOf(requests, await requests.ask({ ...question, method: 'GET' }, options), meanings);
}

async function meaningOf(
  requests: Requests,
  answer: RegistryAnswer,
  meanings: ReadonlyMap<number, Meaning>,
): Promise<Meaning> {
  const meaning = answer.status === 200 ? 'public' : meanings.get(answer.status);
  if (meaning === undefined) throw await requests.failureOf(answer, 'NAME_UNKNOWN');
  await discard(answer);
  return meaning;
}

/** Some token endpoints give no anonymous token for private repositories (ghcr.io, GitLab). */
async function unlessDenied(ask: () => Promise<Meaning>): Promise<Meaning> {
  try {
    return await ask();
  } catch (cause) {
    if (cause instanceof OciError && cause.code === 'DENIED') return 'hidden';
    throw cause;
  }
}
