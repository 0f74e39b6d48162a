import { UpstreamError } from '../../oci/errors.ts';

/** As many may run as there are connections, and as many may wait. */
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
