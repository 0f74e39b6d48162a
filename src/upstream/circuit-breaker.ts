import type { Readable } from 'node:stream';
import type { Clock, Observer, Waiting } from '../mirror/ports.ts';
import { OciError, UpstreamError } from '../oci/errors.ts';
import { Circuit, type CircuitRules } from './circuit.ts';
import { type Endpoint, type EndpointRole, type Guard, guarded } from './endpoint.ts';

export interface CircuitBreakerDeps {
  /** The upstream it belongs to, and its place among its endpoints, for the metrics. */
  readonly label: string;
  readonly host: string;
  /** A mirror is left alone after its first failure: another endpoint is asked at once. */
  readonly role: EndpointRole;
  readonly clock: Clock;
  readonly observer: Observer;
}

/** What stands before everything that one endpoint is asked. */
export interface CircuitBreaker {
  /** Asks, or fails at once while the endpoint is left alone. */
  readonly guard: Guard;
  /** A body that breaks off counts too, so that what is missing of it is asked for elsewhere. */
  watch(body: Readable, options: Waiting): void;
}

const rules: Readonly<Record<EndpointRole, CircuitRules>> = {
  registry: { failuresToOpen: 3, firstOpenMs: 10_000, maxOpenMs: 5 * 60_000 },
  mirror: { failuresToOpen: 1, firstOpenMs: 10_000, maxOpenMs: 5 * 60_000 },
};

/**
 * Leaves an endpoint alone for a while after it gave no answer, so that a dead one does not slow down every pull. That it does not have
 * something, or refuses, is an answer (git-pkgs/proxy #209: counted as failures, 404s became 502s). What `ask` asks again by itself
 * counts once, as it ended. Whoever is not let through is told why it failed last, so that what follows from that does not change.
 */
export function createCircuitBreaker({ label, host, role, clock, observer }: CircuitBreakerDeps): CircuitBreaker {
  const circuit = new Circuit({
    rules: rules[role],
    clock,
    onChange: (state) => observer.circuitChanged({ upstream: label, endpoint: role, state }),
  });
  let lastFailure: UpstreamError | undefined;
  const judge = (cause: unknown, signal: AbortSignal): void => {
    switch (verdictOn(cause, signal, role)) {
      case 'answered':
        return circuit.succeeded();
      case 'failed':
        lastFailure = failureOf(cause, { signal, host });
        return circuit.failed(waitWished(lastFailure));
      case 'undecided':
        return circuit.undecided();
    }
  };
  return {
    async guard({ signal }, ask) {
      if (!circuit.admits()) throw leftAlone(host, circuit.openForMs, lastFailure);
      try {
        const value = await ask();
        circuit.succeeded();
        return value;
      } catch (cause) {
        judge(cause, signal);
        throw cause;
      }
    },
    watch: (body, { signal }) => void body.once('error', (cause) => judge(cause, signal)),
  };
}

/** An endpoint whose every verb stands behind its breaker. */
export function withCircuitBreaker(endpoint: Endpoint, breaker: CircuitBreaker): Endpoint {
  const standing = guarded(endpoint, breaker.guard);
  return {
    ...standing,
    openBlob: async (repository, digest, options) => {
      const opened = await standing.openBlob(repository, digest, options);
      breaker.watch(opened.body, options);
      return opened;
    },
  };
}

/** What a failed request says of its endpoint. Pure. */
export function verdictOn(
  cause: unknown,
  signal: AbortSignal,
  role: EndpointRole,
): 'answered' | 'failed' | 'undecided' {
  if (signal.aborted) return isTimeout(signal.reason) ? 'failed' : 'undecided';
  if (cause instanceof OciError) return 'answered';
  if (!(cause instanceof UpstreamError)) return 'undecided';
  switch (cause.trouble) {
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

/** The caller's patience with the upstream ended, rather than the caller itself. */
function isTimeout(reason: unknown): boolean {
  return reason instanceof DOMException && reason.name === 'TimeoutError';
}

/** What failed, as it is remembered: a caller whose patience ended has no more to say than that. */
function failureOf(
  cause: unknown,
  { signal, host }: { readonly signal: AbortSignal; readonly host: string },
): UpstreamError {
  if (cause instanceof UpstreamError && !signal.aborted) return cause;
  return new UpstreamError('timeout', `${host} did not answer in time`, { cause });
}

function waitWished({ retryAfterSeconds }: UpstreamError): { readonly atLeastMs?: number } {
  return retryAfterSeconds === undefined ? {} : { atLeastMs: Math.min(retryAfterSeconds * 1_000, 5 * 60_000) };
}

function leftAlone(host: string, openForMs: number, cause: UpstreamError | undefined): UpstreamError {
  const retryAfterSeconds = Math.max(1, Math.ceil(openForMs / 1_000));
  const { trouble = 'unavailable', upstreamStatus } = cause ?? {};
  const message = `${host} failed a moment ago and is not asked yet`;
  return new UpstreamError(trouble, message, { cause, upstreamStatus, retryAfterSeconds });
}
