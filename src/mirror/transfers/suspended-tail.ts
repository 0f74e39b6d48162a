import type { Hash } from 'node:crypto';
import type { Digest } from '../../oci/digest.ts';
import { Relay } from '../relays/relay.ts';
import type { RelayRules } from '../relays/relay-options.ts';
import type { IncomingBlob } from '../ports/blob-store.ts';
import type { ByteSource } from '../ports/byte-source.ts';
import type { RemoteBlob } from './remote-blob.ts';

export interface JoinOptions {
  /** Whether what the disk takes no more is asked for at the sources. Otherwise the reader fails there. */
  readonly mayAskForRest?: boolean | undefined;
}

/** A download whose disk takes no more. */
export interface Suspended extends RelayRules {
  readonly digest: Digest;
  readonly size: number | undefined;
  readonly incoming: IncomingBlob;
  readonly writtenBytes: number;
  /** The hash of what is written. */
  readonly hash: Hash;
  readonly blob: RemoteBlob;
}

/** The part of a suspended download after the written bytes. Its readers share one upstream answer while they read at the same position. */
export class SuspendedTail {
  readonly #suspended: Suspended;
  #relay: Relay | undefined;

  constructor(suspended: Suspended) {
    this.#suspended = suspended;
  }

  /** @param position in the withheld tail of what is written, or behind it: then it is a part of the blob, which cannot be verified here. */
  join(position: number): ByteSource {
    const { writtenBytes, hash, incoming, ...rest } = this.#suspended;
    if (position > writtenBytes) return new Relay({ ...rest, from: position }).join(position);
    if (!this.#relay?.isJoinable) {
      const before: ByteSource['read'] = (into, at) => incoming.read(into, at);
      this.#relay = new Relay({ ...rest, from: writtenBytes, verify: { hash, before } });
    }
    return this.#relay.join(position);
  }
}
