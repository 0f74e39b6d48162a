import { OciError } from '../../oci/errors.ts';
import { isRepository, type Repository } from '../../oci/reference.ts';
import { anonymous } from '../credentials/credentials.ts';
import type { Authorizer, Caller } from '../credentials/protocol/authorizer.ts';
import type { Answer } from '../transport/answer.ts';
import type { Send } from '../transport/exchange.ts';
import { pingRegistry } from './ping.ts';

export interface ProofDeps {
  readonly registry: URL;
  /** Where the registry's API is, as `apiRootOf` makes it. */
  readonly apiRoot: URL;
  readonly send: Send;
  readonly authorizer: Authorizer;
  /** Authorizes anonymously at another host after a redirect, and keeps the tokens of that host. */
  readonly guestAt: (host: URL) => Authorizer;
}

/** An answer with a status of 400 or above, and the Authorization header of its request, if there was one. */
export interface Refused {
  readonly answer: Answer;
  readonly authorization: string | undefined;
}

/**
 * @returns an Authorization header that may change the registry's answer, or undefined.
 * Some registries challenge only at `/v2/`: gcr.io may answer 401 without a challenge, and registries that also serve anonymous requests
 * may hide private content behind 403 or 404.
 */
export async function nextAuthorization(
  { authorizer, registry, send, apiRoot }: ProofDeps,
  caller: Caller,
  { answer, authorization }: Refused,
): Promise<string | undefined> {
  if (answer.url.origin !== registry.origin) return undefined;
  const isRefused = answer.status === 401;
  const mayBeHidden = (answer.status === 403 || answer.status === 404) && caller.credentials !== anonymous;
  const isUnexplained = !authorizer.knowsChallenge && answer.headers['www-authenticate'] === undefined;
  if ((isRefused || mayBeHidden) && isUnexplained) {
    const { headers } = await pingRegistry(send, apiRoot, { signal: caller.signal });
    authorizer.learnChallenge(headers);
    return authorizer.header(caller);
  }
  return isRefused ? authorizer.answerTo(answer.headers, caller, authorization) : undefined;
}

/** @returns an anonymous Authorization header for a host after a redirect that answered 401; undefined if there is none to try. */
export async function anonymousAuthorization(
  { guestAt, registry }: ProofDeps,
  { repository, signal }: Caller,
  { answer: { status, url, headers }, authorization }: Refused,
): Promise<string | undefined> {
  if (status !== 401 || url.origin === registry.origin) return undefined;
  const guest = { credentials: anonymous, repository: repositoryAt(url) ?? repository, signal };
  return guestAt(url).answerTo(headers, guest, authorization).catch(noneIfDenied);
}

/** A host that gives no anonymous token refuses the request: its answer is handled like any other. */
function noneIfDenied(cause: unknown): undefined {
  if (!(cause instanceof OciError) || cause.code !== 'DENIED') throw cause;
}

/** The repository's name at the host after a redirect: a challenge without a scope is about it. */
function repositoryAt({ pathname }: URL): Repository | undefined {
  const [, name] = /^\/v2\/(.+)\/(?:manifests|blobs|tags|referrers)\//.exec(pathname) ?? [];
  return name !== undefined && isRepository(name) ? name : undefined;
}
