import { type Trouble, UpstreamError } from '../../oci/errors.ts';
import { networkTroubleOf } from '../network-errors.ts';

/**
 * An account's secret cannot be had.
 * Of the cause only name and message stay: those of the SDKs carry the request, which holds what proves the account.
 * @param source such as `AWS`.
 */
export function credentialFailure(source: string, cause: unknown): UpstreamError {
  if (cause instanceof UpstreamError) return cause;
  const stripped = cause instanceof Error ? Object.assign(new Error(cause.message), { name: cause.name }) : undefined;
  return new UpstreamError(troubleOf(cause), `${source} gave the mirror no credentials`, { cause: stripped });
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
