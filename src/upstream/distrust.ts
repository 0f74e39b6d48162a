import type { Clock } from '../mirror/ports/clock.ts';
import type { Digest } from '../oci/digest.ts';
import { boundedMap } from './bounded-map.ts';

/** How long a digest is not asked for where it came wrong. */
const digestForMs = 60 * 60_000;
/** Who sends so many digests wrong is asked for none for a while. */
const digestsToDemote = 3;
const demotedForMs = 10 * 60_000;
const maxRemembered = 10_000;

/** What one mirror sent that was not what its digest names. Bounded in number. */
export class Distrust {
  readonly #clock: Clock;
  readonly #untilMs = boundedMap<Digest, number>(maxRemembered);
  readonly #sent = boundedMap<Digest, true>(maxRemembered);
  #wrongInARow = 0;
  #demotedUntilMs = Number.NEGATIVE_INFINITY;

  constructor({ clock }: { readonly clock: Clock }) {
    this.#clock = clock;
  }

  /** Whether it is passed over for this digest. */
  has(digest: Digest): boolean {
    const nowMs = this.#clock.monotonicMs();
    return nowMs < this.#demotedUntilMs || nowMs < (this.#untilMs.get(digest) ?? Number.NEGATIVE_INFINITY);
  }

  /** It has begun to send this: not known yet whether rightly. */
  sends(digest: Digest): void {
    this.#sent.set(digest, true);
  }

  /** What it sent for this digest, if it did, was wrong. @returns whether it did. */
  wasWrong(digest: Digest): boolean {
    if (!this.#sent.delete(digest)) return false;
    this.avoid(digest);
    this.#wrongInARow += 1;
    if (this.#wrongInARow < digestsToDemote) return true;
    this.#wrongInARow = 0;
    this.#demotedUntilMs = this.#clock.monotonicMs() + demotedForMs;
    return true;
  }

  /** What it sent was verified. */
  wasRight(): void {
    this.#wrongInARow = 0;
  }

  avoid(digest: Digest): void {
    this.#untilMs.set(digest, this.#clock.monotonicMs() + digestForMs);
  }
}
