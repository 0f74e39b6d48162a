import { OciError } from '../../oci/errors.ts';
import type { SatisfiableRange } from '../../oci/range.ts';
import type { JoinedRelay, Part } from '../relays/relays.ts';
import type { ByteSource } from '../ports/byte-source.ts';

/** The most requests to the upstream for one client request. */
const maxSpans = 64;
/** Reading and dropping a smaller gap between two ranges costs less than another request. */
const minGapBytes = 256 * 1024;
/** Gaps may add at most this share to the requested bytes … */
const maxDroppedShare = 0.2;
/** … or this much, if that is more. */
const minDroppedBytes = 64 * 1024;

/**
 * The spans to ask the upstream for, so that they cover all ranges. Ranges that lie close together become one span as long as the gaps
 * that are read and dropped are less than a fifth of what was asked for. Where that leaves more than 64 spans, all gaps below 256 KiB are
 * read, and then the smallest of those that are left, until there are 64. Pure.
 * @param ranges ascending, none overlapping another.
 */
export function spansOf(ranges: readonly SatisfiableRange[]): readonly Part[] {
  const gaps = ranges.slice(1).map(({ start }, index) => start - (ranges[index]?.end ?? start) - 1);
  const frugal = spansBetween(ranges, gaps, frugalGapBytes(ranges, gaps));
  if (frugal.length <= maxSpans) return frugal;
  const widest = gaps.toSorted((one, other) => other - one)[maxSpans - 1];
  return spansBetween(ranges, gaps, Math.max(minGapBytes, (widest ?? -1) + 1));
}

/** The smallest gap that is not read, if no more may be dropped than the share of what was asked for. */
function frugalGapBytes(ranges: readonly SatisfiableRange[], gaps: readonly number[]): number {
  const asked = ranges.reduce((sum, { start, end }) => sum + end - start + 1, 0);
  let left = Math.max(minDroppedBytes, asked * maxDroppedShare);
  for (const gap of gaps.toSorted((one, other) => one - other)) {
    left -= gap;
    if (left < 0) return Math.min(gap, minGapBytes);
  }
  return minGapBytes;
}

/** @param least the smallest gap that separates two spans. */
function spansBetween(ranges: readonly SatisfiableRange[], gaps: readonly number[], least: number): readonly Part[] {
  const spans: Part[] = [];
  for (const [index, { start, end }] of ranges.entries()) {
    const previous = spans.at(-1);
    if (previous && (gaps[index - 1] ?? 0) < least) spans.splice(-1, 1, { start: previous.start, end });
    else spans.push({ start, end });
  }
  return spans;
}

/** Asks for a span of a blob. @throws OciError RANGE_INVALID when `needsRanges` is set and the upstream sends the whole blob instead. */
export type JoinSpan = (span: Part, options: { readonly needsRanges: boolean }) => Promise<JoinedRelay>;

/**
 * Several spans of a blob as one source, which must be read at ascending positions. One span is open at a time; the relay drops the
 * gaps between the ranges of a span. An upstream that ignores ranges is asked once for the rest of the blob.
 */
export class SpansSource implements ByteSource {
  readonly #join: JoinSpan;
  readonly #spans: Part[];
  #index = -1;
  #source: ByteSource | undefined;
  #isDisposed = false;

  /** @param spans ascending, and none overlapping another. */
  constructor(spans: readonly Part[], join: JoinSpan) {
    this.#spans = [...spans];
    this.#join = join;
  }

  /** Asks for the first span; to be called before `read`. @throws as the upstream does. */
  async begin(): Promise<JoinedRelay> {
    const joined = await this.#joinAt(0);
    this.#use(0, joined);
    return { ...joined, source: this };
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    return (await (await this.#sourceAt(position))?.read(into, position)) ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    await this.#source?.[Symbol.asyncDispose]();
  }

  async #sourceAt(position: number): Promise<ByteSource | undefined> {
    const index = this.#spans.findIndex(({ start, end }) => start <= position && position <= end);
    if (index === -1) return undefined;
    if (index !== this.#index) {
      await this.#source?.[Symbol.asyncDispose]();
      this.#source = undefined;
      const joined = await this.#joinAt(index);
      if (this.#isDisposed) await joined.source[Symbol.asyncDispose]();
      this.#use(index, joined);
    }
    return this.#source;
  }

  #use(index: number, { source }: JoinedRelay): void {
    this.#index = index;
    this.#source = source;
  }

  async #joinAt(index: number): Promise<JoinedRelay> {
    const [span, last] = [this.#spans[index], this.#spans.at(-1)];
    if (!span || !last) throw new Error(`there is no span ${index}`);
    if (span === last) return this.#join(span, { needsRanges: false });
    try {
      return await this.#join(span, { needsRanges: true });
    } catch (cause) {
      if (!(cause instanceof OciError) || cause.code !== 'RANGE_INVALID') throw cause;
      const rest = { start: span.start, end: last.end };
      this.#spans.splice(index, this.#spans.length, rest);
      return this.#join(rest, { needsRanges: false });
    }
  }
}
