import type { Digest } from '../../oci/digest.ts';
import type { StoreWatch } from '../concurrency/abortable-wait.ts';
import type { Checkpoint, IncomingBlob } from '../ports/blob-store.ts';
import type { Observer } from '../ports/observer.ts';
import type { RelayRules } from '../relays/relay-options.ts';
import type { RemoteBlob } from '../transfers/remote-blob.ts';
import type { Ticket } from './scheduler.ts';

/** Room in the store for what a download writes. */
export interface WritingRoom {
  /** Reserves space for bytes that are about to be written. @throws NoRoom; StoreHangs */
  makeFor(bytes: number): Promise<void>;
  /** To be called with bytes that were written. */
  wrote(bytes: number): void;
}

/** Who runs a download. */
export interface DownloadRunner {
  /** Told when the last reader of a running download leaves. */
  readersLeft(): void;
}

/** What a download needs. */
export interface DownloadDeps extends RelayRules {
  readonly digest: Digest;
  /** What a source or a descriptor promised; undefined if unknown. */
  readonly size: number | undefined;
  readonly blob: RemoteBlob;
  /** Where it is written. The download owns it. */
  readonly incoming: IncomingBlob;
  /** The checkpoint of what `incoming` holds already, which must be read back before it is trusted. */
  readonly checkpoint?: Checkpoint | undefined;
  readonly room: WritingRoom;
  /** Of each step of the store that readers wait for. */
  readonly watch: Pick<StoreWatch, 'inTime' | 'unlessLate'>;
  /** Told how many bytes were written. */
  readonly ticket: Pick<Ticket, 'received'>;
  readonly runs: DownloadRunner;
  readonly observer: Pick<Observer, 'internalError'>;
}
