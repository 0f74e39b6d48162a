import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { Link, LinkedList } from './exchange.ts';

export interface ConnectionsOptions {
  /** Further ones are surplus. */
  readonly max?: number;
  /** At the limit, a connection that has been idle for this long is closed for a new one. By default 5 s. */
  readonly closableAfterIdleMs?: number;
  readonly nowMs?: () => number;
}

/** What no other connection has while this one is open: a client may use one port for several addresses of the mirror. */
function endsOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

interface Use {
  readonly socket: Duplex;
  /** How many answers are running. */
  answers: number;
  /** Since its last answer; before its first one, since it was opened. */
  idleSinceMs: number;
}

/** The idle time is longer than the gap between two requests of one pull. */
const defaults = { max: Infinity, closableAfterIdleMs: 5_000, nowMs: () => performance.now() };

/**
 * The connections of one listener, and their running answers. Node can close idle connections too, but counts one that never sent a request
 * as busy until its headers time out.
 */
export class Connections {
  /** With TLS, including those whose handshake is in progress. */
  readonly #accepted = new Set<Socket>();
  readonly #acceptedByEnds = new Map<string, Socket>();
  readonly #uses = new Map<Duplex, Link<Use>>();
  /** Those without a running answer, the longest idle first. */
  readonly #idle = new LinkedList<Use>();
  /** Those that were opened above the limit. */
  readonly #surplus = new WeakSet<Duplex>();
  readonly #options: Required<ConnectionsOptions>;
  #closesAfterAnswers = false;
  #isDraining = false;

  constructor(options: ConnectionsOptions = {}) {
    this.#options = { ...defaults, ...options };
  }

  /** How many may be open at the same time. */
  get max(): number {
    return this.#options.max;
  }

  /** How many are open. */
  get open(): number {
    return this.#uses.size;
  }

  /** Whether each connection is closed after its next answer, which says so. */
  get closesAfterAnswers(): boolean {
    return this.#closesAfterAnswers;
  }

  accepted(socket: Socket): void {
    const ends = endsOf(socket);
    this.#accepted.add(socket);
    this.#acceptedByEnds.set(ends, socket);
    socket.once('close', () => {
      this.#accepted.delete(socket);
      if (this.#acceptedByEnds.get(ends) === socket) this.#acceptedByEnds.delete(ends);
    });
  }

  /** From now on it can send requests. Above the limit, a connection that has been idle for a while is closed for it. */
  opened(socket: Duplex): void {
    if (this.#uses.size >= this.#options.max && !this.#closeLongestIdle()) this.#surplus.add(socket);
    const use = new Link<Use>({ socket, answers: 0, idleSinceMs: this.#options.nowMs() });
    this.#uses.set(socket, use);
    this.#idle.append(use);
    socket.once('close', () => this.#forget(socket));
    if (this.#isDraining) socket.destroy();
  }

  /** An answer begins. @returns a function to call at its end. */
  answering(socket: Duplex): () => void {
    const use = this.#uses.get(socket);
    if (!use) return () => {};
    use.item.answers += 1;
    this.#idle.remove(use);
    return () => this.#answered(use);
  }

  #answered(use: Link<Use>): void {
    const { item } = use;
    item.answers -= 1;
    if (item.answers > 0 || this.#uses.get(item.socket) !== use) return;
    item.idleSinceMs = this.#options.nowMs();
    this.#idle.append(use);
    if (this.#isDraining) closeIfIdle(item);
  }

  /** Whether it is above the limit: its request is answered 503 with Retry-After. */
  isSurplus(socket: Duplex): boolean {
    return this.#surplus.has(socket);
  }

  /** Whether it can send requests: with TLS, whether the handshake is over. */
  isOpened(socket: Duplex): boolean {
    return this.#uses.has(socket);
  }

  isAnswering(socket: Duplex): boolean {
    return (this.#uses.get(socket)?.item.answers ?? 0) > 0;
  }

  /** From now on each connection is closed after its next answer. Idle ones stay open: closing them could lose a request on its way. */
  closeAfterAnswers(): void {
    this.#closesAfterAnswers = true;
  }

  /** Closes idle connections, and from now on each one after its answer. */
  drain(): void {
    this.closeAfterAnswers();
    this.#isDraining = true;
    for (const { item } of this.#uses.values()) closeIfIdle(item);
  }

  /** Resets all connections at once. */
  cut(): void {
    for (const socket of this.#accepted) socket.resetAndDestroy();
  }

  /**
   * Resets the connection of a client that is too slow. If it were closed, the kernel would keep it until the client has read what was sent,
   * or for minutes.
   */
  reset(socket: Socket): void {
    // Node can reset only the TCP connection below a TLS connection.
    const accepted = socket instanceof TLSSocket ? this.#acceptedByEnds.get(endsOf(socket)) : socket;
    if (accepted) accepted.resetAndDestroy();
    else socket.destroy();
  }

  #closeLongestIdle(): boolean {
    const longest = this.#idle.first?.item;
    if (!longest || this.#options.nowMs() - longest.idleSinceMs < this.#options.closableAfterIdleMs) return false;
    this.#forget(longest.socket);
    longest.socket.destroy();
    return true;
  }

  #forget(socket: Duplex): void {
    const use = this.#uses.get(socket);
    if (use) this.#idle.remove(use);
    this.#uses.delete(socket);
  }
}

/** Closes it after its last answer has been sent. */
function closeIfIdle({ socket, answers }: Use): void {
  if (answers === 0) socket.end(() => socket.destroy());
}

export interface PipelinesOptions {
  readonly connections: Connections;
  /** Answers a request, and its own failures. */
  readonly answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
  /** How many requests may wait, over all connections. Beyond it a connection that sends another request is closed. */
  readonly maxWaiting: number;
  /** Called for each connection that is closed because too many of its requests wait, or too many in total. */
  readonly onRefused: () => void;
}

interface Exchanged {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** The waiting requests of one connection, behind the one that is being answered. */
interface Line {
  readonly waiting: Exchanged[];
  isPaused: boolean;
  /** Pauses the socket again: Node resumes it after each answer. */
  readonly stayPaused: () => unknown;
}

/** With this many waiting requests, nothing more is read from the connection. With fewer, its end is noticed at once. */
const pauseAtWaiting = 8;
/** A connection with more waiting requests is closed. This many can only arrive in one read of the socket. */
const maxWaitingOfConnection = 32;

/**
 * Answers the requests of a connection one after another. Answers are sent in order anyway (RFC 9112 §9.3.2), so one that is prepared
 * earlier would hold memory and count as a running request without need. Registry clients do not pipeline, so this slows none of them.
 *
 * Node reads up to 64 KiB before it can be paused, and emits every request in them, which may be 1,700. Each takes several KB of memory
 * while it waits, outside the memory budget. So a connection that pipelines more than 32 is closed, which RFC 9112 §9.3.2 makes its client
 * expect. At most one request of each connection is answered in one turn of the event loop.
 */
export class Pipelines {
  readonly #options: PipelinesOptions;
  /** Of the connections with requests that wait. */
  readonly #lines = new Map<Duplex, Line>();
  #waiting = 0;

  constructor(options: PipelinesOptions) {
    this.#options = options;
  }

  /** How many requests wait for their turn, over all connections. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Whether reading from a connection is paused because too many of its requests wait. */
  isPaused(socket: Duplex): boolean {
    return this.#lines.get(socket)?.isPaused ?? false;
  }

  /** Answers a request when its turn comes. */
  take(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    const isBusy = this.#options.connections.isAnswering(socket) || this.#lines.has(socket);
    if (isBusy) this.#wait(socket, { request, response });
    else this.#answer({ request, response });
  }

  #answer({ request, response }: Exchanged): void {
    const { connections, answer } = this.#options;
    const answered = connections.answering(request.socket);
    if (connections.closesAfterAnswers) response.setHeader('Connection', 'close');
    void answer(request, response);
    // Added last, so that everything the answer holds is freed before the next one begins. It closes once: `on` costs less than `once`.
    response.on('close', () => {
      answered();
      this.#next(request.socket);
    });
  }

  #wait(socket: Duplex, exchanged: Exchanged): void {
    if (socket.destroyed) return;
    const line = this.#lineOf(socket);
    if (line.waiting.length >= maxWaitingOfConnection || this.#waiting >= this.#options.maxWaiting) {
      return this.#refuse(socket, line);
    }
    line.waiting.push(exchanged);
    this.#waiting += 1;
    if (line.waiting.length < pauseAtWaiting || line.isPaused) return;
    line.isPaused = true;
    socket.pause();
  }

  /** Waiting requests are dropped at once; the running answer may end later. */
  #refuse(socket: Duplex, line: Line): void {
    this.#options.onRefused();
    this.#waiting -= line.waiting.length;
    line.waiting.length = 0;
    socket.destroy();
  }

  #lineOf(socket: Duplex): Line {
    const known = this.#lines.get(socket);
    if (known) return known;
    const line: Line = {
      waiting: [],
      isPaused: false,
      stayPaused: () => line.isPaused && socket.pause(),
    };
    socket.on('resume', line.stayPaused);
    this.#lines.set(socket, line);
    return line;
  }

  /** Called when the running answer has closed. The next one begins in a later turn of the event loop, so that others are not delayed. */
  #next(socket: Duplex): void {
    const line = this.#lines.get(socket);
    if (line && (socket.destroyed || line.waiting.length === 0)) this.#forget(socket, line);
    else if (line) setImmediate(() => this.#answerNext(socket, line));
  }

  #answerNext(socket: Duplex, line: Line): void {
    const next = socket.destroyed ? undefined : line.waiting.shift();
    if (!next) return this.#forget(socket, line);
    this.#waiting -= 1;
    if (line.isPaused && line.waiting.length < pauseAtWaiting) {
      line.isPaused = false;
      socket.resume();
    }
    this.#answer(next);
  }

  #forget(socket: Duplex, line: Line): void {
    this.#lines.delete(socket);
    this.#waiting -= line.waiting.length;
    socket.off('resume', line.stayPaused);
  }
}
