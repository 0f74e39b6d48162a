import type { Hash } from 'node:crypto';
import type { Digest } from '../../oci/digest.ts';
import { UpstreamError } from '../../oci/errors.ts';
import { StoreHangs, type StoreWatch } from '../concurrency/abortable-wait.ts';
import { Relay } from '../relays/relay.ts';
import { type RelayRules, verifyWhole } from '../relays/relay-options.ts';
import type { IncomingBlob } from '../ports/blob-store.ts';
import type { ByteSource } from '../ports/byte-source.ts';
import type { RecentPieces } from './piece-buffers.ts';
import type { RemoteBlob } from './remote-blob.ts';

export interface JoinOptions {
  /** Whether what the disk takes no more is asked for at the sources. Otherwise the reader fails there. */
  readonly mayAskForRest?: boolean | undefined;
}

/** A download whose disk takes no more, or hangs. */
export interface Suspended extends RelayRules {
  readonly digest: Digest;
  readonly size: number | undefined;
  readonly incoming: Pick<IncomingBlob, 'read'>;
  readonly recent: Pick<RecentPieces, 'borrow'>;
  readonly watch: Pick<StoreWatch, 'inTime'>;
  readonly isHanging: boolean;
  readonly writtenBytes: number;
  /** The hash of what is written. */
  readonly hash: Hash;
  readonly blob: RemoteBlob;
}

/** How much is read at a time from a store that hangs. */
const readBytes = 64 * 1024;

/**
 * What readers of a suspended download read: what is written, and then the rest from an upstream answer, which those share that read at the same
 * position.
 */
export class SuspendedTail {
  readonly #suspended: Suspended;
  #rest: Relay | undefined;
  #whole: Relay | undefined;

  constructor(suspended: Suspended) {
    this.#suspended = suspended;
  }

  /**
   * Reads what is written: while the store hangs from memory, else not for long. Then the disk gets a buffer of its own, which a read that ends
   * late may still fill.
   * @param available how many bytes are there.
   * @returns undefined if there are none, or the store does not answer. @throws the disk's error.
   */
  async read(into: Uint8Array, position: number, available: number): Promise<number | undefined> {
    const { incoming, isHanging } = this.#suspended;
    if (available <= 0) return undefined;
    const part = into.subarray(0, available);
    if (!isHanging) return incoming.read(part, position);
    try {
      return this.#readRecent(part, position) ?? (await this.#readInTime(part, position));
    } catch (cause) {
      if (!(cause instanceof StoreHangs)) throw cause;
      return undefined;
    }
  }

  /**
   * @param position in the withheld tail of what is written, or behind it: then it is a part of the blob, which cannot be verified here.
   * @param options.isUnread whether what is written there could not be read: the whole blob is asked for again, so that it can be verified.
   * @throws UpstreamError busy if the reader may not ask for it.
   */
  join(position: number, { isUnread, mayAskForRest = true }: JoinOptions & { readonly isUnread: boolean }): ByteSource {
    if (!mayAskForRest) throw new UpstreamError('busy', 'not stored');
    const { writtenBytes, hash, digest } = this.#suspended;
    const rules = { ...this.#suspended, hash: undefined };
    if (isUnread) {
      if (!this.#whole?.isJoinable) this.#whole = new Relay({ ...rules, from: 0, verify: verifyWhole(digest) });
      return this.#whole.join(position);
    }
    if (position > writtenBytes) return new Relay({ ...rules, from: position }).join(position);
    if (!this.#rest?.isJoinable) {
      const before: ByteSource['read'] = async (into, at) => {
        const bytes = await this.read(into, at, writtenBytes - at);
        if (bytes === undefined) throw new StoreHangs();
        return bytes;
      };
      this.#rest = new Relay({ ...rules, from: writtenBytes, verify: { hash, before } });
    }
    return this.#rest.join(position);
  }

  #readRecent(into: Uint8Array, position: number): number | undefined {
    const borrowed = this.#suspended.recent.borrow(position, into.byteLength);
    if (!borrowed) return undefined;
    let copied = 0;
    for (const piece of borrowed.pieces) {
      into.set(piece, copied);
      copied += piece.byteLength;
    }
    borrowed.end();
    return copied;
  }

  async #readInTime(into: Uint8Array, position: number): Promise<number> {
    const { incoming, watch } = this.#suspended;
    const own = Buffer.allocUnsafeSlow(Math.min(readBytes, into.byteLength));
    const bytes = await watch.inTime(incoming.read(own, position));
    into.set(own.subarray(0, bytes));
    return bytes;
  }
}
