import { type FailureReason, UpstreamError } from '../../oci/errors.ts';
import { networkReasonOf } from '../transport/network-errors.ts';

/**
 * The error for a secret that a cloud, its SDK or a program did not provide.
 * Only the name and code of the cause are kept. Its message may hold anything: the answer, a part of the file that could not be parsed, or
 * the request with its credentials.
 * @param source such as `AWS`.
 */
export function credentialFailure(source: string, cause: unknown): UpstreamError {
  if (cause instanceof UpstreamError) return cause;
  return failure(source, reasonOf(cause), Object.assign(new Error(codeIn(cause)), { name: nameOf(cause) }));
}

/** The error for a secret that cannot be read from its file. The message of the cause is kept: it is ours or the file system's. */
export function unreadableSecret(source: string, cause: unknown): UpstreamError {
  if (cause instanceof UpstreamError) return cause;
  return failure(source, 'refused', cause instanceof Error ? new Error(cause.message) : undefined);
}

function failure(source: string, reason: FailureReason, cause: Error | undefined): UpstreamError {
  return new UpstreamError(reason, `no credentials from ${source}`, { cause });
}

/** `AccessDeniedException`, `CredentialsProviderError`. AWS's SDK takes names from answers, so they are checked. */
function nameOf(cause: unknown): string {
  const name = propertyOf(cause, 'name');
  return typeof name === 'string' && /^[A-Za-z]{1,64}$/.test(name) ? name : 'Error';
}

function codeIn(cause: unknown): string {
  const code = propertyOf(cause, 'code') ?? statusOf(cause);
  const isCode = typeof code === 'number' || (typeof code === 'string' && /^[A-Z0-9_]{1,64}$/.test(code));
  return isCode ? String(code) : 'no code';
}

function reasonOf(cause: unknown): FailureReason {
  if (cause instanceof Error && (cause.name === 'TimeoutError' || cause.name === 'AbortError')) return 'timeout';
  const status = statusOf(cause);
  if (status !== undefined) return status >= 500 || status === 429 ? 'unavailable' : 'refused';
  return networkReasonOf(cause) ?? 'refused';
}

/** The status of an answer, as the SDKs of AWS and Google keep it. */
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
