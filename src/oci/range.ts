/** What a Range header asks of a representation of a known size. Offsets are inclusive, as in RFC 9110 §14.1.2. */
export type RequestedRange = 'whole' | 'unsatisfiable' | SatisfiableRange;

export interface SatisfiableRange {
  readonly start: number;
  readonly end: number;
  /** `bytes=a-`: the client may well stop reading before the end. */
  readonly isOpenEnded: boolean;
}

/**
 * Parses `bytes=a-b`, `bytes=a-` and `bytes=-n` against `size` bytes. Several ranges, other units and what is no range at all are
 * ignored (RFC 9110 §14.2 allows it); `bytes=` with nothing behind it is unsatisfiable, as nginx and Pingora have it.
 */
export function parseRange(header: string | undefined, size: number): RequestedRange {
  if (header === undefined) return 'whole';
  const [, spec] = /^bytes=(.*)$/i.exec(header.trim()) ?? [];
  if (spec === undefined || spec.includes(',')) return 'whole';
  if (spec.trim() === '') return 'unsatisfiable';
  const [, first, last] = /^\s*(\d*)\s*-\s*(\d*)\s*$/.exec(spec) ?? [];
  if (first === undefined || last === undefined || (first === '' && last === '')) return 'whole';
  return first === ''
    ? suffix(Number(last), size)
    : fromTo(Number(first), last === '' ? undefined : Number(last), size);
}

function suffix(length: number, size: number): RequestedRange {
  if (length === 0 || size === 0) return 'unsatisfiable';
  return { start: Math.max(0, size - length), end: size - 1, isOpenEnded: false };
}

function fromTo(start: number, end: number | undefined, size: number): RequestedRange {
  if (end !== undefined && end < start) return 'whole';
  if (start >= size) return 'unsatisfiable';
  return { start, end: Math.min(end ?? size - 1, size - 1), isOpenEnded: end === undefined };
}
