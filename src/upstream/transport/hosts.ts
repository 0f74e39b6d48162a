import { freeMemory, sharedMemory } from '../../mirror/concurrency/memory-budget.ts';
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
const fewBytes = 64 * 1024;
const manyBytes = 512 * 1024;
/** Connections of an upstream that receive as many at a time: the memory counts against no budget. */
const maxLarge = 4;

/** How many connections of an upstream receive so. */
export interface LargeBuffers {
  count: number;
}

/**
 * Where a connection receives. Node takes 64 KiB in one call, each with a turn of the event loop and of the HTTP parser: where as much arrives
 * at a time, the next calls may take more. The received pieces lie side by side, so that few bytes do not take 64 KiB.
 */
export class ReceiveBuffer {
  readonly #large: LargeBuffers;
  #isLarge = false;
  #free: Buffer = Buffer.alloc(0);
  #lastBytes = 0;

  constructor(large: LargeBuffers) {
    this.#large = large;
  }

  /** Where the next bytes go. Never less than a quarter of what is received at a time. */
  next(): Buffer {
    const wantsMany = this.#lastBytes >= fewBytes && (this.#isLarge || this.#large.count < maxLarge);
    const bytes = wantsMany ? manyBytes : fewBytes;
    if (this.#free.byteLength >= bytes / 4) return this.#free;
    this.#becomes(wantsMany);
    freeMemory(this.#free);
    this.#free = sharedMemory(bytes);
    return this.#free;
  }

  /** @returns the bytes that the last call has received. */
  received(bytes: number): Buffer {
    const piece = this.#free.subarray(0, bytes);
    this.#free = this.#free.subarray(bytes);
    this.#lastBytes = bytes;
    return piece;
  }

  /** To be called when the connection is closed. */
  end(): void {
    this.#becomes(false);
  }

  #becomes(isLarge: boolean): void {
    this.#large.count += Number(isLarge) - Number(this.#isLarge);
    this.#isLarge = isLarge;
  }
}
