import type { Clock } from '../../mirror/ports/clock.ts';
import type { Digest } from '../../oci/digest.ts';
import { boundedMap } from '../../mirror/concurrency/remembered.ts';

/** How long a mirror is skipped for a digest after it sent wrong bytes for it. */
const digestForMs = 60 * 60_000;
/** A mirror that sends wrong bytes for this many digests in a row is skipped for all content for a while. */
const digestsToDemote = 3;
const demotedForMs = 10 * 60_000;
const maxRemembered = 10_000;

/** Remembers for which digests one mirror sent wrong bytes. Bounded in number. */
export class Distrust {
  readonly #clock: Clock;
  readonly #untilMs = boundedMap<Digest, number>(maxRemembered);
  readonly #sent = boundedMap<Digest, true>(maxRemembered);
  #wrongInARow = 0;
  #demotedUntilMs = Number.NEGATIVE_INFINITY;

  constructor({ clock }: { readonly clock: Clock }) {
    this.#clock = clock;
  }

  /** Whether the mirror is skipped for this digest. */
  has(digest: Digest): boolean {
    const nowMs = this.#clock.monotonicMs();
    return nowMs < this.#demotedUntilMs || nowMs < (this.#untilMs.get(digest) ?? Number.NEGATIVE_INFINITY);
  }

  /** The mirror begins to send this digest; nothing is verified yet. */
  sends(digest: Digest): void {
    this.#sent.set(digest, true);
  }

  /** The bytes for this digest failed verification. @returns whether this mirror had sent them. */
  wasWrong(digest: Digest): boolean {
    if (!this.#sent.delete(digest)) return false;
    this.avoid(digest);
    this.#wrongInARow += 1;
    if (this.#wrongInARow < digestsToDemote) return true;
    this.#wrongInARow = 0;
    this.#demotedUntilMs = this.#clock.monotonicMs() + demotedForMs;
    return true;
  }

  /** Bytes from this mirror passed verification. */
  wasRight(): void {
    this.#wrongInARow = 0;
  }

  avoid(digest: Digest): void {
    this.#untilMs.set(digest, this.#clock.monotonicMs() + digestForMs);
  }
}
