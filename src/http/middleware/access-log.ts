import { randomBytes } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { ServerSpan, Tracing } from '../../mirror/ports/tracing.ts';
import { Exchange, Link, LinkedList, RequestDeadline, type Step, unmapped } from '../server/exchange.ts';
import { ClientAddresses, type Origin, type TrustedProxies } from './client-address.ts';
import { endRequestSpan, servedRequest } from './traced-request.ts';

const requestKinds: readonly Exchange['kind'][] = ['manifest', 'blob', 'tags', 'referrers', 'catalog', 'ping', 'other'];

/** One line of the access log. */
export interface AccessLine {
  /** `X-Request-Id` of the request, or a new id. */
  readonly requestId: string | undefined;
  /** Of its span, if requests are traced, or else of the `traceparent` that the client sent. */
  readonly traceId: string | undefined;
  readonly method: string;
  /** Without the query, which may contain secrets. */
  readonly path: string;
  readonly status: number;
  readonly cache: string;
  /** Why something stale was served: the reason that the upstream gave no answer, or `gone`. */
  readonly staleReason: string | undefined;
  readonly upstream: string;
  readonly repository: string | undefined;
  readonly reference: string | undefined;
  readonly bytes: number;
  readonly durationMs: number;
  readonly client: string | undefined;
  /** The trusted proxy that named the client. */
  readonly proxy: string | undefined;
  readonly userAgent: string | undefined;
  readonly aborted: boolean;
}

export interface AccessLog {
  request(line: AccessLine): void;
}

/** The requests whose answers have not ended. */
export class RunningRequests {
  readonly #exchanges = new LinkedList<Exchange>();

  /** @returns its place, for {@link end}. */
  begin(exchange: Exchange): Link<Exchange> {
    const place = new Link(exchange);
    this.#exchanges.append(place);
    return place;
  }

  end(place: Link<Exchange>): void {
    this.#exchanges.remove(place);
  }

  /** How many there are, and how many of them have no headers yet, by what they ask for. */
  byKind(): ReadonlyMap<string, { readonly running: number; readonly waiting: number }> {
    const counts = new Map(requestKinds.map((kind) => [kind, { running: 0, waiting: 0 }]));
    for (const { kind, firstByteAt } of this.#exchanges) {
      const count = counts.get(kind);
      if (!count) continue;
      count.running += 1;
      if (firstByteAt === undefined) count.waiting += 1;
    }
    return counts;
  }
}

type KeptField = 'method' | 'upstream' | 'repository' | 'reference' | 'status' | 'cache' | 'client' | 'userAgent';

/** A request for content that was answered. */
export interface AnsweredRequest extends Pick<AccessLine, KeptField> {
  /** Counted since the start of the process, from 1. */
  readonly number: number;
  readonly atMs: number;
  readonly kind: Exchange['kind'];
}

/** So many are remembered. */
const mostRecent = 1_000;
/** Of a user agent, which a client chooses. */
const longestUserAgent = 200;
/** Enough for the longest names that a request can have. */
const slotBytes = 1_200;

/**
 * The last requests of clients for content; older ones are forgotten. They are kept as bytes in slots that are used again: as objects, all of
 * them would outlive V8's young generation, which then copies them several times for every request that is served.
 */
export class RecentRequests {
  /** The fields of each, one a line. An empty one is absent. */
  readonly #texts = Buffer.alloc(mostRecent * slotBytes);
  readonly #lengths = new Uint16Array(mostRecent);
  readonly #atMs = new Float64Array(mostRecent);
  #recorded = 0;

  /** How many there were since the start of the process. */
  get recorded(): number {
    return this.#recorded;
  }

  record(kind: Exchange['kind'], line: Pick<AccessLine, KeptField>): void {
    if (kind === 'other' || kind === 'ping') return;
    const { method, status, cache, upstream, repository, reference, client, userAgent = '' } = line;
    const names = `${upstream}\n${repository ?? ''}\n${reference ?? ''}`;
    const asked = `${client ?? ''}\n${userAgent.slice(0, longestUserAgent)}`;
    const text = `${kind}\n${method}\n${status}\n${cache}\n${names}\n${asked}`;
    const slot = this.#recorded % mostRecent;
    this.#recorded += 1;
    this.#atMs[slot] = Date.now();
    this.#lengths[slot] = this.#texts.write(text, slot * slotBytes, slotBytes);
  }

  /** The newest first. */
  list(): readonly AnsweredRequest[] {
    const count = Math.min(this.#recorded, mostRecent);
    return Array.from({ length: count }, (_, index) => this.#read(this.#recorded - index));
  }

  #read(number: number): AnsweredRequest {
    const slot = (number - 1) % mostRecent;
    const start = slot * slotBytes;
    const fields = this.#texts.toString('utf8', start, start + (this.#lengths[slot] ?? 0)).split('\n');
    const [kind, method = '', status, cache = '', upstream = '', repository, reference, client, userAgent] = fields;
    return {
      number,
      atMs: this.#atMs[slot] ?? 0,
      kind: requestKinds.find((one) => one === kind) ?? 'other',
      method,
      upstream,
      status: Number(status),
      cache,
      repository: repository || undefined,
      reference: reference || undefined,
      client: client || undefined,
      userAgent: userAgent || undefined,
    };
  }
}

export interface AccessLogDeps {
  readonly observer: Observer;
  readonly log: AccessLog;
  /** By default requests are not traced. */
  readonly tracing?: Pick<Tracing, 'serve'> | undefined;
  /** By default there are none. */
  readonly trustedProxies?: TrustedProxies | undefined;
  /** Counts the requests in progress. */
  readonly running?: RunningRequests | undefined;
  /** Remembers the last ones. */
  readonly recent?: RecentRequests | undefined;
  /** The request deadline; for tests. */
  readonly requestDeadlineMs?: number | undefined;
}

/** Begins the exchange of every request, and logs and counts it when the answer has ended, complete or cut. */
export function recordRequests(deps: AccessLogDeps): Step {
  const { tracing, running, requestDeadlineMs, trustedProxies } = deps;
  const deadline = new RequestDeadline({ deadlineMs: requestDeadlineMs });
  const addresses = trustedProxies && new ClientAddresses(trustedProxies);
  const newId = requestIds();
  return (ctx, next) => {
    const { req, res } = ctx;
    const exchange = new Exchange(res, deadline);
    ctx.state = { exchange };
    const place = running?.begin(exchange);
    exchange.requestId = requestIdIn(req.headers) ?? newId();
    const origin = addresses?.of(req) ?? { client: unmapped(req.socket.remoteAddress), proxy: undefined };
    const record = (span?: ServerSpan) => {
      // It closes once: `on` costs less than `once`.
      res.on('close', () => recordAnswer({ req, res, exchange, place, origin, span }, deps));
      return next();
    };
    if (!tracing) return record();
    return tracing.serve(servedRequest(req, { from: 'client', client: origin.client }), record);
  };
}

interface Ended {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly exchange: Exchange;
  /** Among the running requests, if they are counted. */
  readonly place: Link<Exchange> | undefined;
  readonly origin: Origin;
  readonly span: ServerSpan | undefined;
}

function recordAnswer(
  { req, res, exchange, place, origin, span }: Ended,
  { observer, log, running, recent }: AccessLogDeps,
): void {
  exchange.end();
  if (place) running?.end(place);
  const endedAt = performance.now();
  const durationMs = endedAt - exchange.startedAt;
  const { kind, cache, staleReason, upstream, repository, reference, bytes } = exchange;
  const method = req.method ?? '';
  const status = res.statusCode;
  const aborted = !res.writableFinished;
  const firstByteMs = (exchange.firstByteAt ?? endedAt) - exchange.startedAt;
  const name = exchange.repositoryName;
  observer.answered({
    kind,
    method,
    status,
    cache,
    upstream,
    repository: name,
    bytes,
    durationMs,
    firstByteMs,
    aborted,
  });
  const line: AccessLine = {
    requestId: exchange.requestId,
    traceId: span?.traceId ?? traceIdIn(req.headers),
    method,
    path: pathOf(req.url ?? ''),
    status,
    cache,
    staleReason,
    upstream,
    repository,
    reference,
    bytes,
    durationMs: Math.round(durationMs * 100) / 100,
    client: origin.client,
    proxy: origin.proxy,
    userAgent: req.headers['user-agent'],
    aborted,
  };
  log.request(line);
  recent?.record(kind, line);
  if (span) endRequestSpan(span, kind, line);
}

/** Ids that no other process makes, each with the number of the request. */
function requestIds(): () => string {
  const prefix = randomBytes(6).toString('hex');
  let requests = 0;
  return () => `${prefix}-${(requests += 1)}`;
}

/** `X-Request-Id` of a client or proxy: letters, digits and a few signs, so that it can be searched for and breaks no log. */
function requestIdIn(headers: IncomingHttpHeaders): string | undefined {
  const id = headers['x-request-id'];
  return typeof id === 'string' && /^[\w.:=@+/-]{1,128}$/.test(id) ? id : undefined;
}

/** Of `traceparent` (W3C Trace Context, "traceparent header"). */
function traceIdIn(headers: IncomingHttpHeaders): string | undefined {
  const parent = headers['traceparent'];
  if (typeof parent !== 'string') return undefined;
  // Later versions may have more after the flags; `ff` is none.
  const [, version, id] =
    /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-|$)/.exec(parent) ?? [];
  return version === '00' && parent.length > 55 ? undefined : id;
}

function pathOf(target: string): string {
  const question = target.indexOf('?');
  return question === -1 ? target : target.slice(0, question);
}
