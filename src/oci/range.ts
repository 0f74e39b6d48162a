/** A Range header applied to content of a known size. Offsets are inclusive, as in RFC 9110 §14.1.2. */
export type RequestedRange = 'whole' | 'unsatisfiable' | SatisfiableRange | SeveralRanges;

export interface SatisfiableRange {
  readonly start: number;
  readonly end: number;
  /** `bytes=a-`: the client may well stop reading before the end. */
  readonly isOpenEnded: boolean;
}

/** At least two, ascending, none overlapping another. */
export interface SeveralRanges {
  readonly ranges: readonly SatisfiableRange[];
}

/** Requests for more are refused. containers/image asks for 1,024 and, after a 400, for half as many. */
export const maxRanges = 1_000;

/** Whether a Range header names more ranges than one request may. */
export function hasTooManyRanges(header: string): boolean {
  return (specsIn(header)?.length ?? 0) > maxRanges;
}

/**
 * Parses `bytes=` and ranges such as `a-b`, `a-` and `-n` against `size` bytes. Of several, those outside the content are dropped, and those
 * that overlap are merged. Ranges that only touch stay apart: containers/image counts the parts it gets (RFC 9110 §15.3.7.2 allows both).
 * Other units, too many ranges and malformed headers are ignored (§14.2 allows it); `bytes=` without a range is unsatisfiable, as in nginx
 * and Pingora.
 */
export function parseRange(header: string | undefined, size: number): RequestedRange {
  const specs = specsIn(header);
  if (specs === undefined || specs.length > maxRanges) return 'whole';
  const parsed = specs.map((spec) => parseSpec(spec, size));
  if (parsed.includes('whole')) return 'whole';
  const ranges = merged(parsed.filter((range) => typeof range === 'object'));
  const [first] = ranges;
  if (!first) return 'unsatisfiable';
  return ranges.length === 1 ? first : { ranges };
}

/** Empty list elements are skipped (RFC 9110 §5.6.1.2). */
function specsIn(header: string | undefined): readonly string[] | undefined {
  const [, list] = /^bytes=(.*)$/i.exec(header?.trim() ?? '') ?? [];
  return list?.split(',').filter((spec) => spec.trim() !== '');
}

function parseSpec(spec: string, size: number): 'whole' | 'unsatisfiable' | SatisfiableRange {
  const [, first, last] = /^\s*(\d*)\s*-\s*(\d*)\s*$/.exec(spec) ?? [];
  if (first === undefined || last === undefined || (first === '' && last === '')) return 'whole';
  return first === ''
    ? suffix(Number(last), size)
    : fromTo(Number(first), last === '' ? undefined : Number(last), size);
}

function merged(ranges: readonly SatisfiableRange[]): readonly SatisfiableRange[] {
  const ascending: SatisfiableRange[] = [];
  for (const range of ranges.toSorted((one, other) => one.start - other.start)) {
    const previous = ascending.at(-1);
    if (!previous || range.start > previous.end) ascending.push(range);
    else ascending.splice(-1, 1, union(previous, range));
  }
  return ascending;
}

function union(one: SatisfiableRange, other: SatisfiableRange): SatisfiableRange {
  const isOpenEnded = one.isOpenEnded || other.isOpenEnded;
  return { start: Math.min(one.start, other.start), end: Math.max(one.end, other.end), isOpenEnded };
}

function suffix(length: number, size: number): 'unsatisfiable' | SatisfiableRange {
  if (length === 0 || size === 0) return 'unsatisfiable';
  return { start: Math.max(0, size - length), end: size - 1, isOpenEnded: false };
}

function fromTo(start: number, end: number | undefined, size: number): 'whole' | 'unsatisfiable' | SatisfiableRange {
  if (end !== undefined && end < start) return 'whole';
  if (start >= size) return 'unsatisfiable';
  return { start, end: Math.min(end ?? size - 1, size - 1), isOpenEnded: end === undefined };
}
