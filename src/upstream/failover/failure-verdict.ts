import { OciError, UpstreamError } from '../../oci/errors.ts';
import type { EndpointRole } from './retry.ts';
import { RememberedFailure } from './failing-resources.ts';

/** Whether a failed request means that its endpoint fails. Pure. */
export function verdictOn(
  cause: unknown,
  signal: AbortSignal,
  role: EndpointRole,
): 'answered' | 'failed' | 'undecided' {
  if (signal.aborted) return isTimeout(signal.reason) ? 'failed' : 'undecided';
  if (cause instanceof OciError) return 'answered';
  if (!(cause instanceof UpstreamError) || cause instanceof RememberedFailure) return 'undecided';
  switch (cause.reason) {
    case 'connect':
    case 'dns':
    case 'tls':
    case 'timeout':
    case 'unavailable':
      return 'failed';
    case 'overloaded':
    case 'refused':
    case 'misbehaving':
      return role === 'mirror' ? 'failed' : 'answered';
    case 'busy':
      return 'undecided';
  }
}

/** Whether a deadline passed (AbortSignal.timeout). As the reason of a signal: otherwise the caller left. */
export function isTimeout(reason: unknown): boolean {
  return reason instanceof DOMException && reason.name === 'TimeoutError';
}

/** The failure to remember; `timeout` if the request deadline passed. */
export function failureToRemember(
  cause: unknown,
  { signal, host }: { readonly signal: AbortSignal; readonly host: string },
): UpstreamError {
  if (cause instanceof UpstreamError && !signal.aborted) return cause;
  return new UpstreamError('timeout', `${host} did not answer in time`, { cause });
}

/** The endpoint's Retry-After, at most five minutes. */
export function retryAfterOf({ retryAfterSeconds = 0 }: UpstreamError): { readonly atLeastMs: number } {
  return { atLeastMs: Math.min(retryAfterSeconds * 1_000, 5 * 60_000) };
}

/** The error of a request that is not sent because the circuit is open. */
export function circuitOpen(host: string, openForMs: number, cause: UpstreamError | undefined): UpstreamError {
  const retryAfterSeconds = Math.max(1, Math.ceil(openForMs / 1_000));
  const { reason = 'unavailable', upstreamStatus } = cause ?? {};
  const message = `${host} failed recently and is not asked again yet`;
  return new UpstreamError(reason, message, { cause, upstreamStatus, retryAfterSeconds });
}
