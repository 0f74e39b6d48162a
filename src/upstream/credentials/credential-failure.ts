import { type Trouble, UpstreamError } from '../../oci/errors.ts';
import { networkTroubleOf } from '../transport/network-errors.ts';

/**
 * An account's secret cannot be had from somebody else: a cloud, its SDK, a program.
 * Of the cause only its name and code stay. What it says may be anything: the words of whoever was asked, a piece of the file that
 * could not be parsed, the request itself with what proves the account.
 * @param source such as `AWS`.
 */
export function credentialFailure(source: string, cause: unknown): UpstreamError {
  if (cause instanceof UpstreamError) return cause;
  return failure(source, troubleOf(cause), Object.assign(new Error(codeIn(cause)), { name: nameOf(cause) }));
}

/** An account's secret cannot be read from its file. The words of the cause are ours, or those of the file system: they are told. */
export function unreadableSecret(source: string, cause: unknown): UpstreamError {
  if (cause instanceof UpstreamError) return cause;
  return failure(source, 'refused', cause instanceof Error ? new Error(cause.message) : undefined);
}

function failure(source: string, trouble: Trouble, cause: Error | undefined): UpstreamError {
  return new UpstreamError(trouble, `${source} gave the mirror no credentials`, { cause });
}

/** `AccessDeniedException`, `CredentialsProviderError`: AWS's SDK takes names from answers, and these may say anything. */
function nameOf(cause: unknown): string {
  const name = propertyOf(cause, 'name');
  return typeof name === 'string' && /^[A-Za-z]{1,64}$/.test(name) ? name : 'Error';
}

function codeIn(cause: unknown): string {
  const code = propertyOf(cause, 'code') ?? statusOf(cause);
  const isCode = typeof code === 'number' || (typeof code === 'string' && /^[A-Z0-9_]{1,64}$/.test(code));
  return isCode ? String(code) : 'no code';
}

function troubleOf(cause: unknown): Trouble {
  if (cause instanceof Error && (cause.name === 'TimeoutError' || cause.name === 'AbortError')) return 'timeout';
  const status = statusOf(cause);
  if (status !== undefined) return status >= 500 || status === 429 ? 'unavailable' : 'refused';
  return networkTroubleOf(cause) ?? 'refused';
}

/** Where AWS's and Google's SDKs keep the status of an answer. */
function statusOf(cause: unknown): number | undefined {
  const places = [
    propertyOf(propertyOf(cause, '$metadata'), 'httpStatusCode'),
    propertyOf(propertyOf(cause, 'response'), 'status'),
  ];
  return places.find((place) => typeof place === 'number');
}

function propertyOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}
