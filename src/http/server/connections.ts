import type { Duplex } from 'node:stream';

export interface ConnectionsOptions {
  /** Further ones are surplus. */
  readonly max?: number | undefined;
  readonly nowMs?: () => number;
}

/** Between two requests of one pull a client is idle for less. */
const makesWayAfterMs = 5_000;

/**
 * The connections of one listener, and their running answers. Node can close idle connections too, but counts one that never sent a request
 * as busy until its headers time out.
 */
export class Connections {
  /** With TLS, including those whose handshake is in progress. */
  readonly #accepted = new Set<Duplex>();
  /** The number of running answers on each. */
  readonly #answersOn = new Map<Duplex, number>();
  /** Idle connections and since when they are idle, the longest first. */
  readonly #idleSinceMs = new Map<Duplex, number>();
  /** Those that were opened above the limit. */
  readonly #surplus = new WeakSet<Duplex>();
  readonly #max: number;
  readonly #nowMs: () => number;
  #isDraining = false;

  constructor({ max = Infinity, nowMs = () => performance.now() }: ConnectionsOptions = {}) {
    this.#max = max;
    this.#nowMs = nowMs;
  }

  accepted(socket: Duplex): void {
    this.#accepted.add(socket);
    socket.once('close', () => this.#accepted.delete(socket));
  }

  /** From now on it can send requests. Above the limit, a connection that has been idle for a while is closed for it. */
  opened(socket: Duplex): void {
    if (this.#answersOn.size >= this.#max && !this.#closeLongestIdle()) this.#surplus.add(socket);
    this.#answersOn.set(socket, 0);
    socket.once('close', () => this.#forget(socket));
    if (this.#isDraining) socket.destroy();
  }

  /** An answer begins. @returns a function to call at its end. */
  answering(socket: Duplex): () => void {
    this.#count(socket, 1);
    this.#idleSinceMs.delete(socket);
    return () => {
      this.#count(socket, -1);
      if (this.#answersOn.get(socket) === 0) this.#idleSinceMs.set(socket, this.#nowMs());
      if (this.#isDraining) closeIfIdle(socket, this.#answersOn.get(socket));
    };
  }

  /** Whether it is above the limit: its request is answered 503 with Retry-After. */
  isSurplus(socket: Duplex): boolean {
    return this.#surplus.has(socket);
  }

  /** Whether it can send requests: with TLS, whether the handshake is over. */
  isOpened(socket: Duplex): boolean {
    return this.#answersOn.has(socket);
  }

  isAnswering(socket: Duplex): boolean {
    return (this.#answersOn.get(socket) ?? 0) > 0;
  }

  /** Closes idle connections, and from now on each one after its answer. */
  drain(): void {
    this.#isDraining = true;
    for (const [socket, answers] of this.#answersOn) closeIfIdle(socket, answers);
  }

  /** Closes all connections at once. */
  cut(): void {
    for (const socket of this.#accepted) socket.destroy();
  }

  #closeLongestIdle(): boolean {
    const [longest] = this.#idleSinceMs;
    if (!longest || this.#nowMs() - longest[1] < makesWayAfterMs) return false;
    this.#forget(longest[0]);
    longest[0].destroy();
    return true;
  }

  #forget(socket: Duplex): void {
    this.#answersOn.delete(socket);
    this.#idleSinceMs.delete(socket);
  }

  #count(socket: Duplex, change: number): void {
    const answers = this.#answersOn.get(socket);
    if (answers !== undefined) this.#answersOn.set(socket, answers + change);
  }
}

/** Closes it after its last answer has been sent. */
function closeIfIdle(socket: Duplex, answers: number | undefined): void {
  if (answers === 0) socket.end(() => socket.destroy());
}
