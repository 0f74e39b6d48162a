import {
  type Context,
  context,
  createContextKey,
  diag,
  INVALID_SPAN_CONTEXT,
  isSpanContextValid,
  propagation,
  ProxyTracerProvider,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  type SpanOptions,
  SpanStatusCode,
  trace,
  type Tracer,
} from '@opentelemetry/api';
import { timeLimited } from '../mirror/concurrency/abortable-wait.ts';
import type { BucketObserver } from '../mirror/ports/observer.ts';
import type {
  AskedRequest,
  Attributes,
  ClientSpan,
  ServedRequest,
  ServerSpan,
  Tracing,
} from '../mirror/ports/tracing.ts';
import { withoutBrackets } from '../oci/reference.ts';

/** As the SDK's `suppressTracing`, which is not in the API. */
const suppressed = createContextKey('OpenTelemetry SDK Context Key SUPPRESS_TRACING');
/** Clients choose paths and user agents. */
const maxTextLength = 512;
const usuallyFlushesWithinMs = 1_000;
const knownMethods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'CONNECT', 'TRACE']);

export interface Traces extends Tracing {
  /** The trace of the request that runs now, for the log. */
  readonly traceId: () => string | undefined;
  /** Also records the calls of the shared bucket, which are observed when they have ended. */
  observing<Observed extends BucketObserver>(observer: Observed): Observed;
  /** Has the SDK export what it holds; gives up after a while. To be called when nothing is recorded any more. Never throws. */
  flush(withinMs?: number): Promise<void>;
}

/**
 * Records spans with the SDK that the operator has loaded, by the semantic conventions of OpenTelemetry for HTTP. No header, query or signed
 * URL becomes an attribute. What an SDK, an exporter or a sampler throws goes to the log of the API (`diag`), and changes nothing else.
 * @returns undefined if no SDK is registered now.
 */
export function createTracing({ version }: { readonly version: string }): Traces | undefined {
  if (!isSdkRegistered()) return undefined;
  const tracer = trace.getTracer('layerwell', version);
  return {
    serve: (request, work) => serve(tracer, request, work),
    ask: (request) => ask(tracer, request),
    active: () => trace.getActiveSpan()?.spanContext(),
    link: (begunBy) => {
      const span = trace.getActiveSpan();
      if (!span || !begunBy || span.spanContext().spanId === begunBy.spanId) return;
      attempt(() => span.addLink({ context: begunBy }), undefined);
    },
    flush: (withinMs = usuallyFlushesWithinMs) => flush(withinMs),
    traceId: () => trace.getActiveSpan()?.spanContext().traceId,
    observing: (observer) => ({
      ...observer,
      bucketAnswered: (event) => {
        recordBucketCall(tracer, event);
        observer.bucketAnswered(event);
      },
    }),
  };
}

/** A provider of another copy of the API counts as well. */
function isSdkRegistered(): boolean {
  const provider = trace.getTracerProvider();
  return !(provider instanceof ProxyTracerProvider) || provider.getDelegateTracer('layerwell') !== undefined;
}

/** The API has no `forceFlush`, but the providers of the SDK have. */
async function flush(withinMs: number): Promise<void> {
  const provider: object = trace.getTracerProvider();
  try {
    const registered = 'getDelegate' in provider ? callOf(provider, provider.getDelegate) : provider;
    if (typeof registered !== 'object' || registered === null || !('forceFlush' in registered)) return;
    const flushed = Promise.resolve(callOf(registered, registered.forceFlush));
    await timeLimited(flushed, withinMs, () => new Error('the spans could not be exported in time'));
  } catch {
    // The exporter's own log says what failed.
  }
}

function callOf(self: object, method: unknown): unknown {
  return typeof method === 'function' ? Reflect.apply(method, self, []) : undefined;
}

function serve<Value>(tracer: Tracer, request: ServedRequest, work: (span: ServerSpan) => Value): Value {
  const method = methodOf(request.method);
  const parent = trace.getActiveSpan() ? context.active() : contextIn(request.headers);
  const attributes = {
    'http.request.method': method,
    'url.path': shortened(request.path),
    'url.scheme': request.isTls ? 'https' : 'http',
    'client.address': request.client,
    'user_agent.original': shortened(request.headers['user-agent']?.toString()),
    'layerwell.request.from': request.kind,
  };
  const span = begin(tracer, method, { kind: SpanKind.SERVER, attributes: given(attributes) }, parent);
  return context.with(trace.setSpan(parent, span), () => work(serverSpan(span, method)));
}

function serverSpan(span: Span, method: string): ServerSpan {
  const spanContext = span.spanContext();
  return {
    traceId: isSpanContextValid(spanContext) ? spanContext.traceId : undefined,
    end: ({ status, route, attributes }) => {
      const isFailure = status >= 500;
      const answered = given({
        ...attributes,
        'http.route': route,
        'http.response.status_code': status,
        'error.type': isFailure ? String(status) : undefined,
      });
      end(span, () => {
        if (route !== undefined) span.updateName(`${method} ${route}`);
        span.setAttributes(answered);
        if (isFailure) span.setStatus({ code: SpanStatusCode.ERROR });
      });
    },
  };
}

function ask(tracer: Tracer, { method, url, kind, upstream, isOwn, sendsContext }: AskedRequest): ClientSpan {
  const active = context.active();
  const attributes = {
    'http.request.method': method,
    'server.address': withoutBrackets(url.hostname),
    'server.port': Number(url.port) || (url.protocol === 'https:' ? 443 : 80),
    'url.full': isOwn ? shortened(url.origin + url.pathname) : undefined,
    'layerwell.upstream': upstream,
    'layerwell.request.kind': kind,
  };
  const options = { kind: SpanKind.CLIENT, attributes: given(attributes) };
  const span = begin(tracer, `${method} ${kind}`, options, active);
  const inSpan = trace.setSpan(active, span);
  return {
    headers: sendsContext ? headersOf(inSpan) : {},
    sending: (send) => context.with(inSpan.setValue(suppressed, true), send),
    answered: (status) =>
      attempt(() => {
        span.setAttribute('http.response.status_code', status);
        if (status >= 400) fail(span, String(status));
      }, undefined),
    end: ({ reason, bytes }) =>
      end(span, () => {
        if (bytes !== undefined) span.setAttribute('http.response.body.size', bytes);
        if (reason !== undefined) fail(span, reason);
      }),
  };
}

/** Of the trace context only: baggage is what clients have written. */
function headersOf(active: Context): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {};
  attempt(() => propagation.inject(propagation.deleteBaggage(active), headers), undefined);
  return headers;
}

function recordBucketCall(
  tracer: Tracer,
  { operation, outcome, durationMs }: Parameters<BucketObserver['bucketAnswered']>[0],
): void {
  const attributes = { 'rpc.system': 'aws-api', 'rpc.service': 'S3', 'rpc.method': operation };
  const options = { kind: SpanKind.CLIENT, attributes, startTime: Date.now() - durationMs };
  const span = begin(tracer, `S3/${operation}`, options, context.active());
  end(span, () => {
    if (outcome !== 'ok' && outcome !== 'absent') fail(span, outcome);
  });
}

/** @returns a span that records nothing if the SDK throws. */
function begin(tracer: Tracer, name: string, options: SpanOptions, parent: Context): Span {
  return attempt(() => tracer.startSpan(name, options, parent), trace.wrapSpanContext(INVALID_SPAN_CONTEXT));
}

/** @param describe sets the last attributes. */
function end(span: Span, describe: () => void): void {
  attempt(describe, undefined);
  attempt(() => span.end(), undefined);
}

function contextIn(headers: ServedRequest['headers']): Context {
  return attempt(() => propagation.extract(ROOT_CONTEXT, headers), ROOT_CONTEXT);
}

/** Calls the SDK, which runs code of others: a span processor, an exporter, a sampler. */
function attempt<Value>(call: () => Value, otherwise: Value): Value {
  try {
    return call();
  } catch (cause) {
    diag.error('layerwell: the SDK threw', cause);
    return otherwise;
  }
}

function fail(span: Span, reason: string): void {
  span.setAttribute('error.type', reason);
  span.setStatus({ code: SpanStatusCode.ERROR });
}

/** Clients choose the method, and it names the span. */
function methodOf(method: string): string {
  return knownMethods.has(method) ? method : '_OTHER';
}

function shortened(text: string | undefined): string | undefined {
  return text?.slice(0, maxTextLength);
}

/** The attributes that have a value. */
function given(attributes: Attributes): Record<string, string | number | boolean> {
  const entries = Object.entries(attributes).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  return Object.fromEntries(entries);
}
