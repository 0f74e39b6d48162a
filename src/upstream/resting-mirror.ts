import type { Clock } from '../mirror/ports.ts';
import { UpstreamError } from '../oci/errors.ts';
import type { Endpoint } from './endpoint.ts';

/** How long a mirror that gave no answer is left alone, so that a dead one does not slow down every request. */
const restMs = 30_000;

/** A mirror that rests after it gave no answer. That it does not have something is an answer. */
export class RestingMirror implements Endpoint {
  readonly #endpoint: Endpoint;
  readonly #clock: Clock;
  #restsUntilMs = Number.NEGATIVE_INFINITY;

  readonly headManifest: Endpoint['headManifest'] = (...request) =>
    this.#watch(this.#endpoint.headManifest(...request));
  readonly getManifest: Endpoint['getManifest'] = (...request) => this.#watch(this.#endpoint.getManifest(...request));
  readonly headBlob: Endpoint['headBlob'] = (...request) => this.#watch(this.#endpoint.headBlob(...request));
  readonly listTags: Endpoint['listTags'] = (...request) => this.#watch(this.#endpoint.listTags(...request));
  readonly listReferrers: Endpoint['listReferrers'] = (...request) =>
    this.#watch(this.#endpoint.listReferrers(...request));

  constructor(endpoint: Endpoint, clock: Clock) {
    this.#endpoint = endpoint;
    this.#clock = clock;
  }

  get isResting(): boolean {
    return this.#clock.now() < this.#restsUntilMs;
  }

  /** A body that breaks off makes it rest too, so that what is missing of the blob is asked for elsewhere. */
  async openBlob(...request: Parameters<Endpoint['openBlob']>): ReturnType<Endpoint['openBlob']> {
    const opened = await this.#watch(this.#endpoint.openBlob(...request));
    opened.body.once('error', (cause) => this.#restAfter(cause));
    return opened;
  }

  async #watch<Value>(answer: Promise<Value>): Promise<Value> {
    try {
      return await answer;
    } catch (cause) {
      this.#restAfter(cause);
      throw cause;
    }
  }

  #restAfter(cause: unknown): void {
    if (!(cause instanceof UpstreamError)) return;
    this.#restsUntilMs = this.#clock.now() + Math.max(restMs, 1_000 * (cause.retryAfterSeconds ?? 0));
  }
}
