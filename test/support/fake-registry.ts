import { once } from 'node:events';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { type Answer, type Fault, sendAnswer } from './fake-answer.ts';
import { FakeAuth, type FakeAuthOptions } from './fake-auth.ts';
import { FakeContent, type FakeContentOptions, jsonAnswer } from './fake-content.ts';
import { freePort } from './free-port.ts';
import { type Owner, thisTest } from './owner.ts';

export interface FakeRegistryOptions extends FakeContentOptions {
  readonly auth?: FakeAuthOptions;
  readonly owner?: Owner;
}

/** One request as the registry saw it. */
export interface SeenRequest {
  readonly method: string;
  /** Without its query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** Of the body, so far. */
  sentBytes: number;
  /** Resolves when the exchange is over: whether all of the answer left. */
  readonly ended: Promise<'complete' | 'aborted'>;
}

export interface RequestMatch {
  readonly method?: string;
  readonly path?: RegExp;
}

/** A registry that listens on loopback at once, and is gone with its owner. */
export async function startFakeRegistry(options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
  const registry = new FakeRegistry(await freePort(), options);
  await registry.start();
  (options.owner ?? thisTest)(() => registry.stop());
  return registry;
}

/** The pull half of a registry on a real socket: it counts what it is asked and does wrong what the test scripts. */
export class FakeRegistry {
  readonly url: string;
  /** `127.0.0.1:<port>`. */
  readonly host: string;
  readonly requests: SeenRequest[] = [];
  readonly content: FakeContent;
  readonly auth: FakeAuth;
  readonly #port: number;
  readonly #scripts: { readonly match: RequestMatch; readonly fault: Fault; left: number }[] = [];
  readonly #arrivals = new Set<() => void>();
  #server: Server | undefined;
  #refuses = false;

  constructor(port: number, options: FakeRegistryOptions) {
    this.#port = port;
    this.content = new FakeContent(options);
    this.host = `127.0.0.1:${port}`;
    this.url = `http://${this.host}`;
    this.auth = new FakeAuth(options.auth ?? { kind: 'none' });
  }

  // ── its life ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Also after {@link stop}: on the same port, with the same content. */
  async start(): Promise<void> {
    const server = createServer(
      { keepAliveTimeout: 60_000 },
      (request, response) => void this.#answer(request, response),
    );
    server.on('connection', (socket) => {
      if (this.#refuses) socket.destroy();
    });
    this.#server = server;
    await once(server.listen(this.#port, '127.0.0.1'), 'listening');
  }

  /** Connections are refused from now on, and those there are break. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }

  /** Connections are accepted and closed at once, or again served. */
  refuseConnections(refuses: boolean): void {
    this.#refuses = refuses;
    if (refuses) this.#server?.closeAllConnections();
  }

  // ── what it was asked ─────────────────────────────────────────────────────────────────────────────────────────────

  /** How often it was asked: `count('GET', /\/blobs\//)`. Token requests count as any other. */
  count(method?: string, path?: RegExp): number {
    return this.seen(method, path).length;
  }

  seen(method?: string, path?: RegExp): readonly SeenRequest[] {
    return this.requests.filter((request) => matches({ ...(method && { method }), ...(path && { path }) }, request));
  }

  /** Resolves when the nth such request has arrived, with it; at once when it is already there. */
  async arrived(method: string, path: RegExp, nth = 1): Promise<SeenRequest> {
    const { promise, resolve } = Promise.withResolvers<SeenRequest>();
    const look = (): void => {
      const request = this.seen(method, path)[nth - 1];
      if (request) resolve(request);
    };
    this.#arrivals.add(look);
    look();
    return promise.finally(() => this.#arrivals.delete(look));
  }

  forgetRequests(): void {
    this.requests.length = 0;
  }

  // ── what goes wrong ───────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * The next `times` requests that match are answered with this fault; of several scripts the first that matches counts.
   * A request that is sent away for its credentials uses none up.
   */
  script(match: RequestMatch & { readonly times?: number }, fault: Fault): void {
    this.#scripts.push({ match, fault, left: match.times ?? Number.POSITIVE_INFINITY });
  }

  clearScripts(): void {
    this.#scripts.length = 0;
  }

  // ── answering ─────────────────────────────────────────────────────────────────────────────────────────────────────

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', this.url);
    const seen = this.#see(request, response, pathname, searchParams);
    const answer = this.#honest(request, seen);
    const fault = answer.status === 401 ? {} : this.#faultFor(seen);
    await sendAnswer({ request, response, path: pathname }, answer, fault, (bytes) => {
      seen.sentBytes += bytes;
    });
  }

  #see(request: IncomingMessage, response: ServerResponse, path: string, query: URLSearchParams): SeenRequest {
    const { promise: ended, resolve } = Promise.withResolvers<'complete' | 'aborted'>();
    response.once('close', () => resolve(response.writableFinished ? 'complete' : 'aborted'));
    const seen = { method: request.method ?? '', path, query, headers: request.headers, sentBytes: 0, ended };
    this.requests.push(seen);
    for (const look of this.#arrivals) look();
    return seen;
  }

  #faultFor(request: SeenRequest): Fault {
    const script = this.#scripts.find(({ match, left }) => left > 0 && matches(match, request));
    if (!script) return {};
    script.left -= 1;
    return script.fault;
  }

  #honest(request: IncomingMessage, { path, query }: SeenRequest): Answer {
    if (path === '/token') return this.auth.token(request, query);
    const [, repository = '', kind = '', reference = ''] =
      /^\/v2\/(.+)\/(manifests|blobs|referrers|tags)\/([^/]+)$/.exec(path) ?? [];
    const refusal = this.auth.refusal(request, repository, this.url);
    if (refusal) return refusal;
    if (path === '/v2/') return jsonAnswer({});
    return this.content.answer({ repository, kind, reference, query, range: request.headers.range });
  }
}

function matches(match: RequestMatch, { method, path }: SeenRequest): boolean {
  return (match.method === undefined || match.method === method) && (match.path === undefined || match.path.test(path));
}
