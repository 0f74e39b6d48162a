import type { Digest } from '../../../oci/digest.ts';
import type { Checked } from '../../eviction/content-check.ts';
import { JobProblems } from './job-problems.ts';

/**
 * What verification found.
 *
 *     damaged        its bytes are not those of its digest: it was put into quarantine
 *     missing        the index has it, and the store does not
 *     unreadable     the disk fails to read it
 *     index          the index could not be read: something was not looked at
 *     not-refetched  it could not be fetched again
 */
export type VerifyReason = 'damaged' | 'missing' | 'unreadable' | 'index' | 'not-refetched';

export interface VerifyProblem {
  /** A digest, or a repository. */
  readonly subject: string;
  readonly reason: VerifyReason;
  /** For people. */
  readonly detail: string;
}

export interface VerifyProgress {
  readonly kind: 'verify';
  /** How many contents were read, or found missing. */
  readonly checked: number;
  /** How many there are, about; undefined if that is not known. */
  readonly total: number | undefined;
  /** How many were read. */
  readonly bytes: number;
  readonly damaged: number;
  readonly missing: number;
  readonly unreadable: number;
  readonly refetched: number;
  /** The first of them. */
  readonly problems: readonly VerifyProblem[];
  /** How many there are. */
  readonly problemCount: number;
}

/** More than this is no damage that fetching content again mends: the rest is only counted. */
const mostLost = 10_000;

/** What becomes of a verification, while it runs. */
export class VerifyReport {
  total: number | undefined;
  /** What is damaged or missing. */
  readonly lost = new Set<Digest>();
  readonly #counts = { checked: 0, bytes: 0, damaged: 0, missing: 0, unreadable: 0, refetched: 0 };
  readonly #problems = new JobProblems<VerifyProblem>();

  get told(): VerifyProgress {
    const { first: problems, count: problemCount } = this.#problems;
    return { kind: 'verify', total: this.total, ...this.#counts, problems, problemCount };
  }

  checked(digest: Digest, result: Exclude<Checked['result'], 'missing'>, bytes: number): void {
    this.#counts.checked += 1;
    this.#counts.bytes += bytes;
    if (result === 'intact') return;
    this.#counts[result] += 1;
    if (result === 'damaged') this.#lose(digest);
    const detail = result === 'damaged' ? 'its bytes have changed; it is in quarantine' : 'the disk cannot read it';
    this.#problems.add({ subject: digest, reason: result, detail });
  }

  /** Several repositories may be linked to it. */
  missing(digest: Digest): void {
    if (this.lost.has(digest)) return;
    this.#counts.checked += 1;
    this.#counts.missing += 1;
    this.#lose(digest);
    this.#problems.add({ subject: digest, reason: 'missing', detail: 'the index has it, and the store does not' });
  }

  refetched(): void {
    this.#counts.refetched += 1;
  }

  notRefetched(digest: Digest, detail: string): void {
    this.#problems.add({ subject: digest, reason: 'not-refetched', detail });
  }

  indexFailed(subject: string): void {
    this.#problems.add({ subject, reason: 'index', detail: 'the index could not be read, so this was not looked at' });
  }

  #lose(digest: Digest): void {
    if (this.lost.size < mostLost) this.lost.add(digest);
  }
}
