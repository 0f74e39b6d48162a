import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

export interface PipelinesOptions {
  readonly answer: RequestListener;
  /** How many requests may wait, over all connections. Beyond it a connection that sends another request is closed. */
  readonly maxWaiting: number;
  /** Called for each connection that is closed because too many requests wait, of it or of all. */
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
  readonly stayPaused: () => void;
}

/** With this many waiting requests, nothing more is read from the connection. With fewer, its end is noticed at once. */
const pauseAtWaiting = 8;
/** A connection with more waiting requests is closed. Only requests that were read at once can be so many. */
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
  /** The connections that have a running answer, each with its line if further requests wait. */
  readonly #lines = new Map<Duplex, Line | undefined>();
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
    if (this.#lines.has(socket)) this.#wait(socket, { request, response });
    else {
      this.#lines.set(socket, undefined);
      this.#answer({ request, response });
    }
  }

  #answer({ request, response }: Exchanged): void {
    this.#options.answer(request, response);
    // Added last, so that everything the answer holds is freed before the next one begins.
    response.once('close', () => this.#next(request.socket));
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
      stayPaused: () => {
        if (line.isPaused) socket.pause();
      },
    };
    socket.on('resume', line.stayPaused);
    this.#lines.set(socket, line);
    return line;
  }

  /** Called when the running answer has closed. The next one begins in a later turn of the event loop, so that others are not delayed. */
  #next(socket: Duplex): void {
    const line = this.#lines.get(socket);
    if (socket.destroyed || !line || line.waiting.length === 0) this.#forget(socket, line);
    else setImmediate(() => this.#answerNext(socket, line));
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

  #forget(socket: Duplex, line: Line | undefined): void {
    this.#lines.delete(socket);
    this.#waiting -= line?.waiting.length ?? 0;
    if (line) socket.off('resume', line.stayPaused);
  }
}
