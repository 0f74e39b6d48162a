import type { Digest } from '../../../oci/digest.ts';
import { type FailureReason, OciError, UpstreamError } from '../../../oci/errors.ts';
import type { DownloadEnd } from '../../transfers/transfer-errors.ts';
import type { JobProblems } from './job-problems.ts';

/**
 * Why something of an image was not fetched.
 *
 *     no-platform       the index has no such platform
 *     foreign-layer     clients fetch this layer elsewhere
 *     not-found         the upstream does not have it, or hides it
 *     not-configured    the mirror has no such upstream
 *     unauthorized      the upstream, or `allow`, `deny` and `visibility`, refuse it
 *     rate-limited      the upstream refuses more pulls for now, or few are left, which are for clients
 *     no-room           the store has no room for it
 *     disk              the disk fails
 *     stale             the upstream does not answer: what is stored is kept, and may be old
 *     unreachable       the upstream does not answer, and it is not stored
 *     wrong-content     the upstream sent other bytes
 *     too-large         a manifest that is not read, since it has more than 1 MiB or names more than 1000 digests
 */
export type WarmReason =
  | 'no-platform'
  | 'foreign-layer'
  | 'not-found'
  | 'not-configured'
  | 'unauthorized'
  | 'rate-limited'
  | 'no-room'
  | 'disk'
  | 'stale'
  | 'unreachable'
  | 'wrong-content'
  | 'too-large';

/** What clients can do without, or what no mirror has: the image counts as done. */
const harmless: ReadonlySet<WarmReason> = new Set(['no-platform', 'foreign-layer']);

export interface WarmProblem {
  readonly image: string;
  /** A digest, a tag or a platform of it. */
  readonly subject: string;
  readonly reason: WarmReason;
  /** For people. */
  readonly detail: string;
}

/** How much was fetched from an upstream, or was stored before. */
export interface WarmCounts {
  readonly manifests: number;
  readonly blobs: number;
  /** Of blobs. */
  readonly bytes: number;
}

export interface WarmedImage {
  readonly image: string;
  readonly state: 'waiting' | 'running' | 'done' | 'failed' | 'cancelled';
  /** What its tag pointed to. Undefined until that is known. */
  readonly digest: Digest | undefined;
  readonly fetched: WarmCounts;
  readonly present: WarmCounts;
}

/** A blob that is being downloaded. */
export interface Arriving {
  readonly receivedBytes: () => number;
}

/** What becomes of one image, while it is warmed. */
export class ImageReport {
  readonly image: string;
  digest: Digest | undefined;
  #state: WarmedImage['state'] = 'waiting';
  readonly #problems: JobProblems<WarmProblem>;
  readonly #fetched = { manifests: 0, blobs: 0, bytes: 0 };
  readonly #present = { manifests: 0, blobs: 0, bytes: 0 };
  readonly #arriving = new Set<Arriving>();
  #hasFailed = false;

  constructor(image: string, problems: JobProblems<WarmProblem>) {
    this.image = image;
    this.#problems = problems;
  }

  get told(): WarmedImage {
    const arriving = [...this.#arriving].reduce((sum, one) => sum + one.receivedBytes(), 0);
    const fetched = { ...this.#fetched, bytes: this.#fetched.bytes + arriving };
    return { image: this.image, state: this.#state, digest: this.digest, fetched, present: { ...this.#present } };
  }

  begins(): void {
    this.#state = 'running';
  }

  ends(): void {
    this.#state = this.#hasFailed ? 'failed' : 'done';
  }

  cancelled(): void {
    if (this.#state === 'waiting' || this.#state === 'running') this.#state = 'cancelled';
  }

  manifest(isPresent: boolean): void {
    (isPresent ? this.#present : this.#fetched).manifests += 1;
  }

  blob(isPresent: boolean, bytes: number): void {
    const counts = isPresent ? this.#present : this.#fetched;
    counts.blobs += 1;
    counts.bytes += bytes;
  }

  /** A blob arrives. @returns a function to be called when that has ended. */
  arrives(blob: Arriving): () => void {
    this.#arriving.add(blob);
    return () => this.#arriving.delete(blob);
  }

  problem(subject: string, reason: WarmReason, detail: string): void {
    this.#hasFailed ||= !harmless.has(reason);
    this.#problems.add({ image: this.image, subject, reason, detail });
  }
}

/** What is told of an error of the mirror. Undefined for a bug. Pure. */
export function reasonOf(cause: unknown): WarmReason | undefined {
  if (cause instanceof OciError) return reasonOfAnswer(cause);
  if (!(cause instanceof UpstreamError)) return undefined;
  return reasonsOfFailures[cause.reason] ?? 'unreachable';
}

const reasonsOfFailures: Readonly<Partial<Record<FailureReason, WarmReason>>> = {
  overloaded: 'rate-limited',
  refused: 'unauthorized',
  misbehaving: 'wrong-content',
};

function reasonOfAnswer({ code, status }: OciError): WarmReason {
  if (code === 'TOOMANYREQUESTS') return 'rate-limited';
  return status === 401 || status === 403 ? 'unauthorized' : 'not-found';
}

/** Why a download did not store its blob. Pure. */
export function reasonOfEnd({ result, cause }: DownloadEnd): WarmReason {
  return reasonsOfEnds[result] ?? reasonOf(cause) ?? 'unreachable';
}

const reasonsOfEnds: Readonly<Partial<Record<DownloadEnd['result'], WarmReason>>> = {
  no_room: 'no-room',
  disk_error: 'disk',
  digest_mismatch: 'wrong-content',
  short: 'wrong-content',
};
