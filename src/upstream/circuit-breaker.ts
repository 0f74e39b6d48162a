import type { Clock, Observer } from '../mirror/ports.ts';
import { OciError, UpstreamError } from '../oci/errors.ts';
import { Circuit, type CircuitRules } from './circuit.ts';
import type { Endpoint } from './endpoint.ts';

export interface CircuitBreakerDeps {
  readonly endpoint: Endpoint;
  /** The upstream it belongs to, and its place among its endpoints, for the metrics. */
  readonly label: string;
  readonly host: string;
  /** The registry itself, or a mirror, which is left alone after its first failure: another endpoint is asked at once. */
  readonly role: 'registry' | 'mirror';
  readonly clock: Clock;
  readonly observer: Observer;
}

const rules: Readonly<Record<CircuitBreakerDeps['role'], CircuitRules>> = {
  registry: { failuresToOpen: 3, firstOpenMs: 10_000, maxOpenMs: 5 * 60_000 },
  mirror: { failuresToOpen: 1, firstOpenMs: 10_000, maxOpenMs: 5 * 60_000 },
};

/**
 * An endpoint that is not asked for a while after it gave no answer, so that a dead one does not slow down every pull. That it does
 * not have something, or refuses, is an answer (git-pkgs/proxy #209: counted as failures, 404s became 502s).
 */
export function withCircuitBreaker(deps: CircuitBreakerDeps): Endpoint {
  const { endpoint, label, host, role, clock, observer } = deps;
  const circuit = new Circuit({
    rules: rules[role],
    clock,
    onChange: (state) => observer.circuitChanged({ upstream: label, endpoint: role, state }),
  });

  const guarded = async <Value>(signal: AbortSignal, ask: () => Promise<Value>): Promise<Value> => {
    if (!circuit.admits()) throw leftAlone(host, circuit.openForMs);
    try {
      const value = await ask();
      circuit.succeeded();
      return value;
    } catch (cause) {
      judge(circuit, cause, { signal, role });
      throw cause;
    }
  };

  return {
    headManifest: (repository, reference, options) =>
      guarded(options.signal, () => endpoint.headManifest(repository, reference, options)),
    getManifest: (repository, reference, options) =>
      guarded(options.signal, () => endpoint.getManifest(repository, reference, options)),
    headBlob: (repository, digest, options) =>
      guarded(options.signal, () => endpoint.headBlob(repository, digest, options)),
    openBlob: async (repository, digest, options) => {
      const opened = await guarded(options.signal, () => endpoint.openBlob(repository, digest, options));
      // A body that breaks off counts too, so that what is missing of it is asked for elsewhere.
      opened.body.once('error', (cause) => judge(circuit, cause, { signal: options.signal, role }));
      return opened;
    },
    listTags: (repository, options) => guarded(options.signal, () => endpoint.listTags(repository, options)),
    listReferrers: (repository, digest, options) =>
      guarded(options.signal, () => endpoint.listReferrers(repository, digest, options)),
  };
}

function judge(
  circuit: Circuit,
  cause: unknown,
  { signal, role }: { readonly signal: AbortSignal; readonly role: CircuitBreakerDeps['role'] },
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
  role: CircuitBreakerDeps['role'],
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
