import type { Socket } from 'node:net';
import { buildConnector } from 'undici';
import type { Memory, MemoryReservation } from '../../mirror/ports/memory.ts';
import { UpstreamError } from '../../oci/errors.ts';

/** Lower-case `host:port` of a URL, with the scheme's default port filled in. */
export function hostAndPort(url: URL): string {
  return `${url.hostname}:${portOf(url)}`;
}

/**
 * A predicate for URLs: whether `listed` names their host and port. An entry without a port means the default port of the URL's
 * scheme; `*` is one label. An entry that begins with `http://` means that scheme only.
 */
export function hostMatcher(listed: readonly string[]): (url: URL) => boolean {
  const grammars = listed.map(grammarOf);
  return (url) => grammars.some((matches) => matches(url));
}

const plainHttp = 'http://';

/** The entries that name a host by `http://host:port`. */
export function plainHttpHosts(listed: readonly string[]): readonly string[] {
  return listed.filter((entry) => entry.startsWith(plainHttp));
}

function grammarOf(entry: string): (url: URL) => boolean {
  const isPlain = entry.startsWith(plainHttp);
  const hostPort = isPlain ? entry.slice(plainHttp.length) : entry;
  const [, host = hostPort, port] = /^(.*?)(?::(\d+))?$/.exec(hostPort.toLowerCase()) ?? [];
  const labels = new RegExp(
    `^${host
      .split('*')
      .map((literal) => RegExp.escape(literal))
      .join('[^.:]+')}$`,
  );
  return (url) =>
    (!isPlain || url.protocol === 'http:') && labels.test(url.hostname) && portOf(url) === (port ?? defaultPortOf(url));
}

function portOf(url: URL): string {
  return url.port === '' ? defaultPortOf(url) : url.port;
}

function defaultPortOf(url: URL): string {
  return url.protocol === 'http:' ? '80' : '443';
}

/** One that runs and one that waits. */
const requestsPerConnection = 2;

/**
 * Bounds the requests to one host and port that run or wait for a connection. As many may wait as there are connections; a further request
 * would wait until its deadline, so it is refused at once.
 */
export class RequestLimit {
  readonly #max: number;
  readonly #countByOrigin = new Map<string, number>();

  /** @param maxConnections to one host and port at a time. */
  constructor(maxConnections: number) {
    this.#max = maxConnections * requestsPerConnection;
  }

  get running(): number {
    return this.#countByOrigin.values().reduce((sum, count) => sum + count, 0);
  }

  /**
   * Counts one request to `url`.
   * @returns a function that ends the request; a second call does nothing.
   * @throws UpstreamError busy when as many wait as there are connections.
   */
  enter({ origin, host }: URL): () => void {
    const count = this.#countByOrigin.get(origin) ?? 0;
    if (count >= this.#max) throw new UpstreamError('busy', `too many requests wait for a connection to ${host}`);
    this.#countByOrigin.set(origin, count + 1);
    let hasLeft = false;
    return () => {
      if (hasLeft) return;
      hasLeft = true;
      this.#leave(origin);
    };
  }

  #leave(origin: string): void {
    const count = (this.#countByOrigin.get(origin) ?? 0) - 1;
    if (count > 0) this.#countByOrigin.set(origin, count);
    else this.#countByOrigin.delete(origin);
  }
}

/** As much as Node receives in one call by itself. */
const smallBytes = 64 * 1024;
const largeBytes = 512 * 1024;
/** The buffer that is filled next, and the full one that the HTTP parser has not taken yet. */
const reservedBytes = 2 * largeBytes;
/** The share of the memory budget that the large buffers of one upstream take at most. */
const largeShare = 1 / 16;

/**
 * Where the connections of an upstream receive without TLS. Node takes 64 KiB in one call, each with a turn of the event loop and of the HTTP
 * parser: where as much arrives at a time, the next call takes up to 512 KiB.
 *
 *     small   one buffer for all connections. Its bytes are copied out at once, so an idle connection holds no memory
 *        │ ▲
 *   full ▼ │ not full, or the memory budget has no room
 *     large   a buffer of the connection's own. A full one is handed on without a copy
 */
export class ReceiveBuffers {
  readonly #small = Buffer.allocUnsafeSlow(smallBytes);
  readonly #memory: Memory;
  #largeCount = 0;

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  /** For a new connection. */
  open(): ReceiveBuffer {
    return new ReceiveBuffer({ small: this.#small, reserve: () => this.#reserve(), mayStay: () => this.#mayStay() });
  }

  #reserve(): Disposable | undefined {
    if ((this.#largeCount + 1) * reservedBytes > this.#memory.maxBytes * largeShare) return undefined;
    const reservation = this.#memory.tryReserve(reservedBytes, { isOptional: true });
    if (!reservation) return undefined;
    this.#largeCount += 1;
    return { [Symbol.dispose]: () => this.#release(reservation) };
  }

  #release(reservation: MemoryReservation): void {
    this.#largeCount -= 1;
    reservation.release();
  }

  #mayStay(): boolean {
    return this.#memory.waiting === 0;
  }
}

interface ReceiveBufferDeps {
  /** The buffer of all connections. */
  readonly small: Buffer;
  /** Reserves memory for a large buffer, if there is room. */
  readonly reserve: () => Disposable | undefined;
  /** Whether a large buffer may stay large: not while others wait for memory. */
  readonly mayStay: () => boolean;
}

/** Where one connection receives. */
export class ReceiveBuffer {
  readonly #deps: ReceiveBufferDeps;
  #large: { readonly buffer: Buffer; readonly reservation: Disposable } | undefined;

  constructor(deps: ReceiveBufferDeps) {
    this.#deps = deps;
  }

  /** Where the next bytes go. */
  get next(): Buffer {
    return this.#large?.buffer ?? this.#deps.small;
  }

  /** @returns the bytes that the last call has received, in a buffer that nothing else uses. */
  received(bytes: number): Buffer {
    const { next } = this;
    const isFull = bytes === next.byteLength;
    const piece = isFull && this.#large ? next : Buffer.allocUnsafeSlow(bytes);
    if (piece !== next) next.copy(piece, 0, 0, bytes);
    if (isFull) this.#beLarge();
    else this.end();
    return piece;
  }

  /** To be called when the connection is closed. */
  end(): void {
    this.#large?.reservation[Symbol.dispose]();
    this.#large = undefined;
  }

  #beLarge(): void {
    if (this.#large && !this.#deps.mayStay()) return this.end();
    const reservation = this.#large?.reservation ?? this.#deps.reserve();
    this.#large = reservation && { buffer: Buffer.allocUnsafeSlow(largeBytes), reservation };
  }
}

/** Connects without TLS; the socket receives into a {@link ReceiveBuffer}. By TLS no more than a record of 16 KiB comes at a time. */
export function plainConnector(
  options: buildConnector.BuildOptions,
  buffers: ReceiveBuffers,
): buildConnector.connector {
  return (target, callback) => {
    const receiving = buffers.open();
    let socket: Socket | null = null;
    const onread = {
      buffer: () => receiving.next,
      callback: (bytes: number) => socket?.push(receiving.received(bytes)) ?? false,
    };
    // It calls back before anything is received.
    buildConnector({ ...options, onread })(target, (...outcome) => {
      socket = outcome[1]?.once('close', () => receiving.end()) ?? null;
      callback(...outcome);
    });
  };
}
