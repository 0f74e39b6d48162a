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
 * counts once, as it ended.
 */
export function createCircuitBreaker({ label, host, role, clock, observer }: CircuitBreakerDeps): CircuitBreaker {
  const circuit = new Circuit({
    rules: rules[role],
    clock,
    onChange: (state) => observer.circuitChanged({ upstream: label, endpoint: role, state }),
  });
  return {
    async guard({ signal }, ask) {
      if (!circuit.admits()) throw leftAlone(host, circuit.openForMs);
      try {
        const value = await ask();
        circuit.succeeded();
        return value;
      } catch (cause) {
        judge(circuit, cause, { signal, role });
        throw cause;
      }
    },
    watch: (body, { signal }) => void body.once('error', (cause) => judge(circuit, cause, { signal, role })),
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

function judge(
  circuit: Circuit,
  cause: unknown,
  { signal, role }: { readonly signal: AbortSignal; readonly role: EndpointRole },
): void {
  switch (verdictOn(cause, signal, role)) {
    case 'answered':
      return circuit.succeeded();
    case 'failed':
      return circuit.failed(waitWished(cause));
    case 'undecided':
      return circuit.undecided();
  }
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

function waitWished(cause: unknown): { readonly atLeastMs?: number } {
  const seconds = cause instanceof UpstreamError ? cause.retryAfterSeconds : undefined;
  return seconds === undefined ? {} : { atLeastMs: Math.min(seconds * 1_000, 5 * 60_000) };
}

function leftAlone(host: string, openForMs: number): UpstreamError {
  const retryAfterSeconds = Math.max(1, Math.ceil(openForMs / 1_000));
  return new UpstreamError('unavailable', `${host} failed a moment ago and is not asked yet`, { retryAfterSeconds });
}
