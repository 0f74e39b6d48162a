import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

export interface PipelinesOptions {
  readonly answer: RequestListener;
  /** How many requests may wait, over all connections. A connection that brings more is closed. */
  readonly maxWaiting: number;
  /** Called when a connection is closed since too many wait. */
  readonly onRefused: () => void;
}

interface Exchanged {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** What one connection has sent beyond the request that is being answered. */
interface Line {
  readonly waiting: Exchanged[];
  isPaused: boolean;
  /** Node reads on whenever a request has been answered. */
  readonly stayPaused: () => void;
}

/** Beyond this nothing more is read from a connection. Below it the end of the connection is noticed at once. */
const maxWaitingOfConnection = 8;

/**
 * Answers the requests of a connection one after another. Answers leave in order anyway (RFC 9112 §9.3.2): one that is prepared before
 * its turn holds memory and a place among the running requests for nothing. No client of a registry sends a request before the answer
 * to the last one, so nobody is slower for it.
 *
 * Node has read up to 64 KiB before it can be told to stop, and shows every request in them; they wait here, unlooked at. In one turn of the
 * event loop each connection has at most one of them answered: sixty connections with thousands of pings kept others waiting for 23 s.
 */
export class Pipelines {
  readonly #options: PipelinesOptions;
  /** The connections on which an answer runs; with a line where more has been asked. */
  readonly #lines = new Map<Duplex, Line | undefined>();
  #waiting = 0;

  constructor(options: PipelinesOptions) {
    this.#options = options;
  }

  /** How many requests wait for their turn, over all connections. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Whether nothing is read from a connection, since it has asked too much already. */
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
    // Behind all that is freed when an answer closes: the next one needs it.
    response.once('close', () => this.#next(request.socket));
  }

  #wait(socket: Duplex, exchanged: Exchanged): void {
    if (this.#waiting >= this.#options.maxWaiting && !socket.destroyed) {
      this.#options.onRefused();
      socket.destroy();
    }
    if (socket.destroyed) return; // What waits is dropped when the answer that runs has closed.
    const line = this.#lineOf(socket);
    line.waiting.push(exchanged);
    this.#waiting += 1;
    if (line.waiting.length < maxWaitingOfConnection || line.isPaused) return;
    line.isPaused = true;
    socket.pause();
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

  /** The answer that ran has closed. The next one has its turn with those of other connections: small ones would all be answered in one turn. */
  #next(socket: Duplex): void {
    const line = this.#lines.get(socket);
    if (socket.destroyed || !line || line.waiting.length === 0) this.#forget(socket, line);
    else setImmediate(() => this.#answerNext(socket, line));
  }

  #answerNext(socket: Duplex, line: Line): void {
    const next = socket.destroyed ? undefined : line.waiting.shift();
    if (!next) return this.#forget(socket, line);
    this.#waiting -= 1;
    if (line.isPaused && line.waiting.length < maxWaitingOfConnection) {
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
