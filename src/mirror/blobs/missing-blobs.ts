import { OciError } from '../../oci/errors.ts';
import type { FreshnessPolicies } from '../tags/freshness.ts';
import { isNotFound } from '../tags/not-found.ts';
import type { Clock } from '../ports/clock.ts';
import { Remembered, RememberedNotFound } from '../concurrency/remembered.ts';
import { type BlobQuestion, nameOf } from './served-blob.ts';

export interface MissingBlobsDeps {
  readonly clock: Clock;
  readonly policies: FreshnessPolicies;
}

const maxRemembered = 20_000;

/** What upstreams said they do not have. */
export class MissingBlobs {
  readonly #deps: MissingBlobsDeps;
  readonly #remembered: Remembered<OciError>;

  constructor(deps: MissingBlobsDeps) {
    this.#deps = deps;
    this.#remembered = new Remembered({ clock: deps.clock, max: maxRemembered });
  }

  /**
   * Runs a question to the upstream. One word for every 404: a HEAD, which has no body, and a GET must say the same, or they tell which of
   * them was asked.
   * @throws OciError BLOB_UNKNOWN, which is remembered; what `ask` throws.
   */
  async asking<Value>(question: BlobQuestion, ask: () => Promise<Value>): Promise<Value> {
    try {
      return await ask();
    } catch (cause) {
      if (!isNotFound(cause)) throw cause;
      const unknown = new OciError('BLOB_UNKNOWN', 'the upstream has no such blob', { cause });
      const { missingMs } = this.#deps.policies.rulesOf(question.upstream.label);
      this.#remembered.remember(nameOf(question), unknown, missingMs);
      throw unknown;
    }
  }

  /** @throws RememberedNotFound where the upstream said a moment ago that it has no such blob. */
  throwIfKnown(question: BlobQuestion): void {
    const missing = this.#remembered.get(nameOf(question));
    if (missing) throw new RememberedNotFound(missing);
  }
}
