/** Where traces are recorded, if the operator loads an OpenTelemetry SDK. Without one there is none of these, and no request pays for it. */
export interface Tracing extends SharedWorkTracing {
  /**
   * Runs `work` within a span of a request, which continues the trace in its headers. Spans that begin in `work`, and after whatever it waits
   * for, are its children.
   */
  readonly serve: <Value>(request: ServedRequest, work: (span: ServerSpan) => Value) => Value;
  /** Begins the span of a request to an upstream or a sibling. */
  ask(request: AskedRequest): ClientSpan;
}

/** Work that several requests share is part of the trace of the request that began it. The others have a link to that one. */
export interface SharedWorkTracing {
  /** The span of the request that runs now. */
  active(): SpanReference | undefined;
  /** The request that runs now joins what another one has begun. */
  link(begunBy: SpanReference | undefined): void;
}

/** Names a span. */
export interface SpanReference {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceFlags: number;
}

export interface ServedRequest {
  /** Who asks: the name of the listener. */
  readonly kind: 'client' | 'sibling';
  readonly method: string;
  /** Without the query, which may contain secrets. */
  readonly path: string;
  readonly isTls: boolean;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly client: string | undefined;
}

export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

export interface ServerSpan {
  /** Undefined if the SDK could not begin the span. */
  readonly traceId: string | undefined;
  /** @param route the path with placeholders: it names the span. */
  end(answer: { readonly status: number; readonly route: string | undefined; readonly attributes: Attributes }): void;
}

export interface AskedRequest {
  readonly method: string;
  readonly url: URL;
  /** Such as `blob` or `token`. */
  readonly kind: string;
  readonly upstream: string;
  /** Whether the URL is one of the registry itself: the path of any other may be signed, and is not recorded. */
  readonly isOwn: boolean;
  /** Whether the trace context is sent. */
  readonly sendsContext: boolean;
}

export interface ClientSpan {
  /** The trace context as headers; none if it is not to be sent. */
  readonly headers: Readonly<Record<string, string>>;
  /** Runs what sends the request: other instrumentations do not see it, which would send the trace context anywhere. */
  sending(send: () => void): void;
  answered(status: number): void;
  /** @param end its failure, if there is one; how many bytes of the body came. */
  end(end: { readonly reason?: string | undefined; readonly bytes?: number }): void;
}
