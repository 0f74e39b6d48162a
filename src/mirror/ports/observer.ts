import type { Digest } from '../../oci/digest.ts';
import type { CorruptionSource } from './blob-store.ts';
import type { CacheWord } from './cache-status.ts';

export type ContentKind = 'manifest' | 'blob';

export type UpstreamRequestKind = ContentKind | 'tags' | 'referrers' | 'visibility' | 'ping' | 'token';

export type DownloadResult =
  | 'ok'
  | 'digest_mismatch'
  | 'short'
  | 'upstream_error'
  | 'disk_error'
  | 'no_room'
  | 'aborted';

/** Told about every decision, so that logs, metrics and tests see the same facts. Must not throw. */
export interface Observer {
  answered(event: {
    readonly kind: ContentKind | 'tags' | 'referrers' | 'catalog' | 'ping' | 'other';
    readonly method: string;
    readonly status: number;
    readonly cache: CacheWord;
    /** The label of the upstream, or `none`. */
    readonly upstream: string;
    readonly bytes: number;
    readonly durationMs: number;
    readonly firstByteMs: number;
    /** The client left before everything was sent. */
    readonly aborted: boolean;
  }): void;
  /** Refused because it was too much. */
  rejected(event: { readonly reason: 'requests' | 'connections' | 'headers' | 'upstream' }): void;
  upstreamAnswered(event: {
    readonly upstream: string;
    readonly kind: UpstreamRequestKind;
    readonly method: 'GET' | 'HEAD' | 'POST';
    /** The HTTP status, or why there was none. */
    readonly outcome: number | string;
    readonly durationMs: number;
  }): void;
  /** Whether one of an upstream's endpoints is asked at all; see upstream/circuit.ts. */
  circuitChanged(event: {
    readonly upstream: string;
    readonly endpoint: 'registry' | 'mirror';
    readonly state: 'closed' | 'open' | 'half-open';
  }): void;
  upstreamBytes(event: { readonly upstream: string; readonly kind: UpstreamRequestKind; readonly bytes: number }): void;
  /** What an upstream said is left of an account's allowance (Docker Hub: pulls in a sliding window). */
  rateLimitSeen(event: {
    readonly upstream: string;
    /** Tells the accounts of an upstream apart without naming them: `basic-1`, `anonymous`. */
    readonly account: string;
    readonly limit: number;
    readonly remaining: number;
    readonly windowSeconds: number | undefined;
  }): void;
  downloadStarted(event: { readonly upstream: string }): void;
  /** How many downloads of an upstream wait for a place, whenever that changes. */
  downloadsWaiting(event: { readonly upstream: string; readonly waiting: number }): void;
  downloadEnded(event: {
    readonly upstream: string;
    readonly result: DownloadResult;
    readonly bytes: number;
    readonly durationMs: number;
    /** What to tell the operator when it did not end well. */
    readonly cause?: unknown;
  }): void;
  collapsed(event: { readonly kind: 'manifest' | 'blob' | 'tag' }): void;
  tagRevalidated(event: {
    readonly upstream: string;
    readonly result: 'not_modified' | 'changed' | 'gone' | 'error';
  }): void;
  servedStale(event: { readonly upstream: string; readonly reason: string }): void;
  contentStored(event: { readonly kind: ContentKind; readonly bytes: number }): void;
  evicted(event: { readonly reason: 'lru' | 'unused' | 'purge'; readonly bytes: number }): void;
  /** A stored file whose size or bytes are not what its name promises. */
  corruptionFound(event: { readonly digest: Digest; readonly source: CorruptionSource }): void;
  /** Everything stored has been read once more. */
  scrubbed(event: { readonly bytes: number; readonly durationMs: number }): void;
  /** Something failed that no client has to hear of. */
  trouble(event: { readonly part: string; readonly cause: unknown }): void;
}
