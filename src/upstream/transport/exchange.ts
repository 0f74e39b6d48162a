import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Memory } from '../../mirror/ports/memory.ts';
import type { Observer, UpstreamRequestKind } from '../../mirror/ports/observer.ts';
import type { ClientSpan, Tracing } from '../../mirror/ports/tracing.ts';
import type { UpstreamMonitor } from '../../mirror/ports/upstream.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../oci/errors.ts';
import { type Answer, AnswerBody } from './answer.ts';
import type { Connections } from './connections.ts';
import { networkFailure, transferFailure } from './network-errors.ts';
import type { UpstreamTimeouts } from '../settings.ts';

/** One HTTP request. */
export interface Exchange {
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Its kind, for the observer. */
  readonly kind: UpstreamRequestKind;
}

/**
 * Sends one request and resolves when the response headers arrive. It follows no redirects and adds no credentials.
 * @throws UpstreamError when there is no answer; the signal's reason when it aborts.
 */
export type Send = (exchange: Exchange, options: Waiting) => Promise<Answer>;

export type ExchangeTimeouts = Pick<UpstreamTimeouts, 'connectMs' | 'headersMs' | 'idleMs'>;

export interface SendDeps {
  /** The label in events for the observer. */
  readonly upstream: string;
  readonly connections: Pick<Connections, 'dispatcherFor' | 'enter'>;
  readonly timeouts: ExchangeTimeouts;
  readonly userAgent: string;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'upstreamAnswered' | 'upstreamBytes'>;
  readonly monitor?: UpstreamMonitor | undefined;
  readonly memory?: Memory | undefined;
  /** For so many ms an informational response (1xx) says that the answer still comes: the time for its headers begins again. By default never. */
  readonly toldForMs?: number | undefined;
  /** By default requests are not traced. */
  readonly tracing?: TracedRequests | undefined;
}

/** How the requests to an endpoint are traced. */
export interface TracedRequests {
  readonly tracing: Pick<Tracing, 'ask'>;
  /** The origin of the endpoint itself. */
  readonly origin: string;
  /** Whether it gets the trace context. Token realms and hosts after a redirect never do. */
  readonly sendsContext: boolean;
}

/** @returns undefined if requests are not traced. Pure but for the span. */
function spanOf({ kind, method, url }: Exchange, { upstream, tracing: traced }: SendDeps): ClientSpan | undefined {
  if (!traced) return undefined;
  const isOwn = url.origin === traced.origin && kind !== 'token';
  return traced.tracing.ask({ method, url, kind, upstream, isOwn, sendsContext: isOwn && traced.sendsContext });
}

export function createSend(deps: SendDeps): Send {
  const { upstream, connections, timeouts, userAgent, clock, observer, monitor, memory, toldForMs } = deps;
  return async (exchange, { signal }) => {
    signal.throwIfAborted();
    const { kind, method, url } = exchange;
    const startedAtMs = clock.monotonicMs();
    const report = (outcome: number | string) => {
      observer.upstreamAnswered({ upstream, kind, method, outcome, durationMs: clock.monotonicMs() - startedAtMs });
      monitor?.health.record({ upstream, outcome });
    };
    const span = spanOf(exchange, deps);
    const onBytes = (bytes: number) => observer.upstreamBytes({ upstream, kind, bytes });
    try {
      const dispatcher = connections.dispatcherFor(url);
      const onEnd = connections.enter(url);
      const options = { exchange, timeouts, userAgent, signal, onBytes, onEnd, memory, toldForMs, span };
      const answer = await new Exchanging(options).start(dispatcher);
      report(answer.status);
      if (span) endWithBody(span, answer);
      return answer;
    } catch (cause) {
      const reason = cause instanceof UpstreamError ? cause.reason : 'aborted';
      report(reason);
      span?.end({ reason });
      throw cause;
    }
  };
}

function endWithBody(span: ClientSpan, { status, body }: Answer): void {
  span.answered(status);
  body.once('close', () => {
    const { errored, receivedBytes } = body;
    const reason = errored instanceof UpstreamError ? errored.reason : errored ? 'aborted' : undefined;
    span.end({ bytes: receivedBytes, reason });
  });
}

interface ExchangingOptions {
  readonly exchange: Exchange;
  readonly timeouts: ExchangeTimeouts;
  readonly userAgent: string;
  readonly signal: AbortSignal;
  readonly onBytes: (bytes: number) => void;
  /** Called when the connection is free again or no longer waited for; may be called twice. */
  readonly onEnd: () => void;
  readonly memory: Memory | undefined;
  readonly toldForMs: number | undefined;
  readonly span: ClientSpan | undefined;
}

/** One running exchange, as undici reports it. The abort signal applies until the body has ended. */
class Exchanging implements Dispatcher.DispatchHandler {
  readonly #options: ExchangingOptions;
  readonly #answered = Promise.withResolvers<Answer>();
  readonly #deadline: NodeJS.Timeout;
  readonly #startedAtMs = performance.now();
  #controller: Dispatcher.DispatchController | undefined;
  #body: AnswerBody | undefined;
  #failure: Error | undefined;

  constructor(options: ExchangingOptions) {
    this.#options = options;
    const { connectMs, headersMs } = options.timeouts;
    this.#deadline = setTimeout(this.#onDeadline, connectMs + headersMs);
    options.signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  start(dispatcher: Dispatcher): Promise<Answer> {
    const { exchange, userAgent, span } = this.#options;
    const { method, url, body = null } = exchange;
    const headers = { ...span?.headers, 'user-agent': userAgent, 'accept-encoding': 'identity', ...exchange.headers };
    const request = { origin: url.origin, path: url.pathname + url.search, method, headers, body };
    try {
      if (span) span.sending(() => dispatcher.dispatch(request, this));
      else dispatcher.dispatch(request, this);
    } catch (cause) {
      this.#fail(networkFailure(url.host, cause));
    }
    return this.#answered.promise;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#failure) controller.abort(this.#failure);
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200) {
      if (performance.now() - this.#startedAtMs < (this.#options.toldForMs ?? 0)) this.#deadline.refresh();
      return;
    }
    const { exchange, timeouts, onBytes, onEnd, memory } = this.#options;
    const { url } = exchange;
    if (status > 599) return this.#fail(new UpstreamError('misbehaving', `${url.host} answered ${status}`));
    clearTimeout(this.#deadline);
    const body = new AnswerBody({ controller, host: url.host, idleMs: timeouts.idleMs, onBytes, memory });
    body.once('close', () => {
      this.#options.signal.removeEventListener('abort', this.#onAbort);
      onEnd();
    });
    this.#body = body;
    this.#answered.resolve({ url, status, headers, body });
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#body?.receive(chunk);
  }

  onResponseEnd(): void {
    this.#options.onEnd();
    this.#body?.complete();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    const { host } = this.#options.exchange.url;
    this.#options.onEnd();
    if (this.#body) this.#body.fail(transferFailure(host, error));
    else this.#fail(this.#failure ?? networkFailure(host, error));
  }

  /** Also covers the wait for a connection, which undici's own timeouts do not. */
  readonly #onDeadline = () => {
    const { host } = this.#options.exchange.url;
    const [reason, why] = this.#controller
      ? (['timeout', 'did not answer in time'] as const)
      : (['busy', 'all connections are in use'] as const);
    this.#fail(new UpstreamError(reason, `${host}: ${why}`));
  };

  readonly #onAbort = () => {
    const reason: unknown = this.#options.signal.reason;
    this.#fail(reason instanceof Error ? reason : new Error('aborted', { cause: reason }));
  };

  #fail(failure: Error): void {
    clearTimeout(this.#deadline);
    this.#options.signal.removeEventListener('abort', this.#onAbort);
    this.#failure = failure;
    this.#options.onEnd();
    this.#answered.reject(failure);
    this.#body?.destroy(failure);
    this.#controller?.abort(failure);
  }
}
