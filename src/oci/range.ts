/** What a Range header asks of a representation of a known size. Offsets are inclusive, as in RFC 9110 §14.1.2. */
export type RequestedRange = 'whole' | 'unsatisfiable' | { readonly start: number; readonly end: number };

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
  return first === '' ? suffix(Number(last), size) : fromTo(Number(first), last === '' ? size - 1 : Number(last), size);
}

function suffix(length: number, size: number): RequestedRange {
  if (length === 0 || size === 0) return 'unsatisfiable';
  return { start: Math.max(0, size - length), end: size - 1 };
}

function fromTo(start: number, end: number, size: number): RequestedRange {
  if (end < start && start < size) return 'whole';
  if (start >= size) return 'unsatisfiable';
  return { start, end: Math.min(end, size - 1) };
}
