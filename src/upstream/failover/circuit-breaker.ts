import type { Readable } from 'node:stream';
import { timeLimited } from '../../mirror/concurrency/abortable-wait.ts';
import { Circuit } from '../../mirror/concurrency/circuit.ts';
import { boundedMap } from '../../mirror/concurrency/remembered.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import { type FailureReason, UpstreamError } from '../../oci/errors.ts';
import type { Repository } from '../../oci/reference.ts';
import type { Breaker, Guard } from './endpoints.ts';
import type { Question } from './failing-resources.ts';
import { failureToRemember, circuitOpen, verdictOn, retryAfterOf } from './failure-verdict.ts';
import type { EndpointRole } from './retry.ts';

export interface CircuitBreakerDeps {
  /** The upstream's label, for metrics. */
  readonly label: string;
  readonly host: string;
  readonly role: EndpointRole;
  readonly clock: Clock;
  readonly observer: Observer;
  /**
   * Pings the endpoint, within its own timeout.
   * @throws UpstreamError when there is no answer, or a 5xx; `busy` when the failure is not the endpoint's.
   */
  readonly ping: () => Promise<void>;
}

const circuitRules = { firstOpenMs: 10_000, maxOpenMs: 5 * 60_000 };
/** The shortest interval between pings of an endpoint that is up while some of its resources fail. */
const pingEveryMs = 10_000;
/** How long a client waits for the ping of a half-open circuit. */
const trialWaitMs = 1_000;
const failuresToPing: Readonly<Record<EndpointRole, number>> = { registry: 3, mirror: 1 };
/** Failures that open the circuit of a mirror at once, because there is another endpoint. */
const opensMirror: ReadonlySet<FailureReason> = new Set(['connect', 'dns', 'tls', 'timeout', 'overloaded', 'refused']);
const unreachable: ReadonlySet<FailureReason> = new Set(['connect', 'dns', 'tls']);

/**
 * Sends no requests to an endpoint for a while after failures, so that a dead one does not slow down every pull. A 404 or a refusal is an
 * answer (git-pkgs/proxy #209: counted as failures, 404s became 502s). While the circuit is open, requests fail with the last failure.
 *
 * A failure may be about one manifest, one repository, or a host that redirects lead to. So before the circuit of a registry opens, the
 * registry is pinged, one ping at a time; 5xx and timeouts open it only when several repositories failed and no other one
 * answered in the last 30 s. A half-open circuit is tested by a ping too, not by a client's request.
 *
 * The `/v2/` of a registry may fail while pulls work. So while a ping that was answered with 5xx, or not in time, keeps the circuit open, each
 * repository that answered when it was last asked for is tried once more; an answer closes the circuit.
 */
export function createCircuitBreaker(deps: CircuitBreakerDeps): Breaker {
  return new CircuitBreaker(deps);
}

class CircuitBreaker implements Breaker {
  readonly #deps: CircuitBreakerDeps;
  readonly #circuit: Circuit;
  readonly #failures = new FailuresInARow();
  readonly #answering: AnsweringRepositories;
  #lastFailure: UpstreamError | undefined;
  #pinging: Promise<void> | undefined;
  #pingAgainAtMs = Number.NEGATIVE_INFINITY;
  /** The failure of the last ping; undefined if it was answered. */
  #pingFailure: FailureReason | undefined;

  constructor(deps: CircuitBreakerDeps) {
    const { label, role, clock, observer } = deps;
    this.#deps = deps;
    this.#answering = new AnsweringRepositories({ clock });
    this.#circuit = new Circuit({
      rules: circuitRules,
      clock,
      onChange: (state) => observer.circuitChanged({ upstream: label, endpoint: role, state }),
    });
  }

  readonly guard: Guard = async (question, ask) => {
    if (!(await this.#admits(question))) {
      question.signal.throwIfAborted();
      throw circuitOpen(this.#deps.host, this.#circuit.openForMs, this.#lastFailure);
    }
    try {
      const value = await ask();
      this.#answering.answered(question.repository);
      this.#succeeded();
      return value;
    } catch (cause) {
      this.#judge(cause, question);
      throw cause;
    }
  };

  watch(body: Readable, question: Question): void {
    body.once('error', (cause) => this.#judge(cause, question));
  }

  async #admits({ repository }: Question): Promise<boolean> {
    if (this.#circuit.state === 'closed') return true;
    if (this.#circuit.beginTrial()) this.#ping();
    if (this.#circuit.state === 'half-open' && this.#pinging) await atMost(this.#pinging, trialWaitMs);
    return this.#isClosed() || (this.#isPingInDoubt() && this.#answering.take(repository));
  }

  #isClosed(): boolean {
    return this.#circuit.state === 'closed';
  }

  /** Whether the circuit of a registry is open because its `/v2/` fails, and not because it is unreachable. */
  #isPingInDoubt(): boolean {
    return this.#pingFailure !== undefined && this.#deps.role === 'registry' && !unreachable.has(this.#pingFailure);
  }

  #succeeded(): void {
    this.#failures.clear();
    this.#circuit.succeeded();
  }

  #judge(cause: unknown, question: Question): void {
    const { host, role } = this.#deps;
    switch (verdictOn(cause, question.signal, role)) {
      case 'answered':
        return this.#succeeded();
      case 'failed': {
        const failure = failureToRemember(cause, { signal: question.signal, host });
        this.#lastFailure = failure;
        this.#failures.note(question.repository);
        this.#answering.failed(question.repository);
        if (!this.#isClosed()) return;
        if (role === 'mirror' && opensMirror.has(failure.reason)) return this.#circuit.failed(retryAfterOf(failure));
        return this.#isInDoubt(failure) ? this.#ping() : undefined;
      }
      case 'undecided':
        return;
    }
  }

  #isInDoubt({ reason }: UpstreamError): boolean {
    const { role, clock } = this.#deps;
    if (this.#failures.count < failuresToPing[role] || clock.monotonicMs() < this.#pingAgainAtMs) return false;
    return role === 'mirror' || unreachable.has(reason) || this.#isFailingForAll();
  }

  /** Whether 5xx and timeouts concern the registry, and not only some of its repositories. */
  #isFailingForAll(): boolean {
    return this.#failures.areOfSeveralRepositories && !this.#answering.hasAnsweredLately;
  }

  /** At most one ping at a time. */
  #ping(): void {
    this.#pinging ??= this.#deps
      .ping()
      .then(
        () => this.#pingAnswered(),
        (cause: unknown) => this.#pingFailed(cause),
      )
      .finally(() => {
        this.#pinging = undefined;
      });
  }

  #pingAnswered(): void {
    this.#pingFailure = undefined;
    this.#pingAgainAtMs = this.#deps.clock.monotonicMs() + pingEveryMs;
    this.#succeeded();
  }

  #pingFailed(cause: unknown): void {
    if (!(cause instanceof UpstreamError)) this.#deps.observer.internalError({ part: 'upstream ping', cause });
    if (!(cause instanceof UpstreamError) || cause.reason === 'busy') return this.#circuit.undecided();
    this.#pingFailure = cause.reason;
    if (this.#isClosed() && !this.#mayOpenFor(cause)) return;
    const before = this.#isClosed() ? this.#lastFailure : cause;
    this.#lastFailure = before ?? cause;
    this.#circuit.failed({
      atLeastMs: Math.max(retryAfterOf(cause).atLeastMs, retryAfterOf(this.#lastFailure).atLeastMs),
    });
  }

  /** A request that succeeded during the ping counts more than the ping. */
  #mayOpenFor({ reason }: UpstreamError): boolean {
    if (this.#failures.count === 0) return false;
    return this.#deps.role === 'mirror' || unreachable.has(reason) || this.#isFailingForAll();
  }
}

/** Resolves when `work` has settled, or the time is over. */
async function atMost(work: Promise<void>, withinMs: number): Promise<void> {
  await timeLimited(work, withinMs, () => new Error('not yet')).catch(() => undefined);
}

/** If this many repositories fail, the registry fails. */
const several = 2;

/** The failures of an endpoint since its last success: how many, and whether of several repositories. Bounded. */
export class FailuresInARow {
  readonly #repositories = new Set<Repository>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get areOfSeveralRepositories(): boolean {
    return this.#repositories.size >= several;
  }

  note(repository: Repository): void {
    this.#count += 1;
    if (!this.areOfSeveralRepositories) this.#repositories.add(repository);
  }

  clear(): void {
    this.#count = 0;
    this.#repositories.clear();
  }
}

/** An endpoint that answered for any repository within this time is up. */
export const answeredLatelyMs = 30_000;
const maxRepositories = 1_000;

/** The repositories whose last request to an endpoint succeeded. Bounded in number. */
export class AnsweringRepositories {
  readonly #clock: Clock;
  readonly #answeredAtMs = boundedMap<Repository, number>(maxRepositories);

  constructor({ clock }: { readonly clock: Clock }) {
    this.#clock = clock;
  }

  answered(repository: Repository): void {
    this.#answeredAtMs.set(repository, this.#clock.monotonicMs());
  }

  failed(repository: Repository): void {
    this.#answeredAtMs.delete(repository);
  }

  /** Whether one of them answered in the last 30 s. */
  get hasAnsweredLately(): boolean {
    const [latestMs = Number.NEGATIVE_INFINITY] = this.#answeredAtMs.values();
    return this.#clock.monotonicMs() - latestMs < answeredLatelyMs;
  }

  /** Removes a repository. @returns whether it was one of them. */
  take(repository: Repository): boolean {
    return this.#answeredAtMs.delete(repository);
  }
}
