import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer, Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type Koa from 'koa';
import { maxHeaders } from '../middleware/request-checks.ts';
import { BrokenRequests, type CutReason } from './broken-requests.ts';
import type { Certificate } from './certificate.ts';
import { Connections, Pipelines } from './connections.ts';

export interface ListenOptions {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly certificate?: Certificate | undefined;
  /** A client that reads nothing for this long is disconnected. */
  readonly idleTimeoutMs: number;
  /** A client whose TLS handshake or request headers take longer is disconnected; for tests. */
  readonly headersTimeoutMs?: number | undefined;
  /** A request that takes longer to arrive, with its body, is cut. */
  readonly requestTimeoutMs?: number | undefined;
  /**
   * Whether bodies of requests are never read. Then a request without one has no stream that begins and ends, which is a twentieth of the cost
   * of a cached manifest.
   */
  readonly ignoresBodies?: boolean | undefined;
  /** The maximum number of pipelined requests that wait, over all connections; for tests. */
  readonly maxPipelined?: number | undefined;
  /**
   * Its connections. Requests on those above their limit are to be answered 503 with Retry-After; beyond {@link spareConnections} more,
   * connections are closed at once.
   */
  readonly connections?: Connections | undefined;
  /** Called for each connection that is closed because of a limit. */
  readonly onRejected?: ((reason: 'connections' | 'requests') => void) | undefined;
  /** Called for each connection that is cut because of what its client does. */
  readonly onCut?: ((reason: CutReason) => void) | undefined;
  /** Called once, when it is to stop: answers that go on for ever are to end. */
  readonly onStopping?: (() => void) | undefined;
}

/** A request with 1,024 ranges fits in, so that it is answered 400 and containers/image retries with fewer. */
const maxHeaderBytes = 32 * 1024;
/** Registry clients send their headers in one piece; a client that sends them slowly occupies a connection (slowloris). */
const maxHeadersMs = 20_000;
/** Requests to a mirror have no bodies worth the name. */
const maxRequestMs = 300_000;

/**
 * Longer than Go's clients (90 s) and most load balancers (60 s) keep a connection that is idle. A server that closes it first loses a request
 * that is on its way (RFC 9112 §9.5), and a load balancer answers that with 502.
 */
const keepIdleMs = 120_000;

/** Pipelined requests that wait, over all connections. No registry client pipelines. */
const maxPipelined = 2_000;

/** Connections above the limit that are still accepted, to be answered 503. */
const spareConnections = 100;

/** A listening socket that can be drained. */
export class Listener {
  readonly name: string;
  readonly #server: Server;
  readonly #options: ListenOptions;
  readonly #connections: Connections;
  /** Set when it accepts no more connections; resolves when the last is closed. */
  #closed: Promise<void> | undefined;

  constructor(app: Pick<Koa, 'callback'>, options: ListenOptions) {
    this.name = options.name;
    this.#options = options;
    this.#connections = options.connections ?? new Connections();
    const pipelines = new Pipelines({
      connections: this.#connections,
      answer: app.callback(),
      maxWaiting: options.maxPipelined ?? maxPipelined,
      onRefused: () => options.onRejected?.('requests'),
    });
    const handle: RequestListener = pipelines.take.bind(pipelines);
    const broken = new BrokenRequests({ connections: this.#connections, pipelines, onCut: options.onCut });
    const headersTimeout = options.headersTimeoutMs ?? maxHeadersMs;
    // A request without a host gets the spec's error body instead of Node's bare 400.
    const settings = {
      requireHostHeader: false,
      optimizeEmptyRequests: options.ignoresBodies ?? false,
      headersTimeout,
      requestTimeout: options.requestTimeoutMs ?? maxRequestMs,
      keepAliveTimeout: keepIdleMs,
      connectionsCheckingInterval: headersTimeout / 4,
      maxHeaderSize: maxHeaderBytes,
    };
    this.#server = options.certificate
      ? createTlsServer({ ...settings, handshakeTimeout: headersTimeout, ...options.certificate.current() }, handle)
      : createServer(settings, handle);
    this.#server.on('connection', (socket) => this.#connections.accepted(socket));
    const opened = options.certificate ? 'secureConnection' : 'connection';
    this.#server.on(opened, (socket: Duplex) => this.#connections.opened(socket));
    // Node would answer an unknown Expect with a bare 417; RFC 9110 §10.1.1 allows to ignore it.
    this.#server.on('checkExpectation', handle);
    this.#server.on('clientError', (error, socket) => broken.refuse(error, socket));
    // Disconnects clients that do not read their response, but not those that wait for the mirror. Node itself ends slow headers.
    this.#server.timeout = options.idleTimeoutMs;
    this.#server.on('timeout', (socket: Socket) => {
      if (socket.writableLength > 0) {
        options.onCut?.('slow_client');
        this.#connections.reset(socket);
      } else if (!this.#connections.isAnswering(socket)) socket.destroy();
    });
    this.#server.maxHeadersCount = maxHeaders + 1;
    const { max } = this.#connections;
    if (max !== Infinity) this.#server.maxConnections = max + spareConnections;
    this.#server.on('drop', () => options.onRejected?.('connections'));
  }

  /** When its certificate expires; undefined without TLS. */
  get certificateEndsAtMs(): number | undefined {
    return this.#options.certificate?.endsAtMs;
  }

  /** How many connections are open. */
  get openConnections(): number {
    return this.#connections.open;
  }

  /** `http://127.0.0.1:5000`, once it listens. */
  get address(): string {
    const address: AddressInfo | string | null = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error(`${this.name} does not listen`);
    const host = address.family === 'IPv6' ? `[${address.address}]` : address.address;
    return `${this.#options.certificate ? 'https' : 'http'}://${host}:${address.port}`;
  }

  /** Its port, once it listens. */
  get port(): number | undefined {
    const address: AddressInfo | string | null = this.#server.address();
    return typeof address === 'object' ? address?.port : undefined;
  }

  /** @throws when the port is in use or may not be used, in one clear line. */
  async start(): Promise<void> {
    const { host, port, certificate } = this.#options;
    await this.#listen(host)
      .catch((cause: unknown) => {
        const other = hostInsteadOf(host, cause);
        if (other === undefined) throw cause;
        return this.#listen(other);
      })
      .catch((cause: unknown) => {
        throw new Error(`cannot listen on ${host}:${port}: ${reasonOf(cause)}`, { cause });
      });
    // From now on an error means that one connection could not be accepted; the listener keeps running.
    this.#server.on('error', () => this.#options.onRejected?.('connections'));
    const server = this.#server;
    if (!certificate || !(server instanceof TlsServer)) return;
    // The keys of session tickets stay: clients that connect again need no whole handshake.
    certificate.onRenewed((renewed) => server.setSecureContext({ ...renewed, ticketKeys: server.getTicketKeys() }));
  }

  async #listen(host: string): Promise<void> {
    const listening = Promise.withResolvers<void>();
    this.#server.once('error', listening.reject);
    this.#server.listen(this.#options.port, host, listening.resolve);
    await listening.promise.finally(() => {
      this.#server.off('error', listening.reject);
      this.#server.off('listening', listening.resolve);
    });
  }

  /** Goes on accepting connections, and closes each after its next answer: clients continue elsewhere. */
  beginDraining(): void {
    this.#connections.closeAfterAnswers();
  }

  /** Accepts no new connections, and closes the others after their answers. */
  stopAccepting(): void {
    this.#closed ??= new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#connections.drain();
      this.#options.onStopping?.();
    });
  }

  /** Accepts no new connections, and lets running answers end. When `signal` aborts, it closes all connections. */
  async stop({ signal }: { signal: AbortSignal }): Promise<void> {
    this.stopAccepting();
    const cut = () => this.#connections.cut();
    signal.addEventListener('abort', cut, { once: true });
    if (signal.aborted) cut();
    await this.#closed;
    signal.removeEventListener('abort', cut);
    this.#options.certificate?.close();
  }
}

/** `::` is every address of the machine, also where the kernel has no IPv6 (`ipv6.disable=1`). Pure. */
export function hostInsteadOf(host: string, cause: unknown): string | undefined {
  const code = codeOf(cause);
  return host === '::' && (code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL') ? '0.0.0.0' : undefined;
}

function reasonOf(cause: unknown): string {
  const code = codeOf(cause);
  if (code === 'EADDRINUSE') return 'the port is in use';
  if (code === 'EACCES') return 'not permitted';
  return cause instanceof Error ? cause.message : String(cause);
}

function codeOf(cause: unknown): unknown {
  return cause instanceof Error && 'code' in cause ? cause.code : undefined;
}
