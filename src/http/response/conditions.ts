import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Digest } from '../../oci/digest.ts';
import { OciError } from '../../oci/errors.ts';
import {
  hasTooManyRanges,
  maxRanges,
  parseRange,
  type RequestedRange,
  type SatisfiableRange,
} from '../../oci/range.ts';

export type ContentAnswer =
  | { readonly status: 200 }
  | { readonly status: 206; readonly range: SatisfiableRange }
  | { readonly status: 206; readonly ranges: readonly SatisfiableRange[]; readonly size: number }
  | { readonly status: 304 }
  | { readonly status: 416 };

/** The part of a request that conditions and ranges are read from. */
type Conditions = Pick<IncomingMessage, 'method' | 'headers'>;

/**
 * What to answer to the conditions of a GET or HEAD, by RFC 9110 §13.2.2: If-None-Match, then Range if If-Range holds. Ranges are for GET
 * (§14.2). Pure.
 */
export function decideAnswer({ method, headers }: Conditions, digest: Digest, size: number | undefined): ContentAnswer {
  if (hasAlready({ headers }, digest)) return { status: 304 };
  if (method !== 'GET' || size === undefined) return { status: 200 };
  const header = rangeHeader(headers, digest);
  if (header === undefined) return { status: 200 };
  const range = parseRange(header, size);
  if (range === 'unsatisfiable') return { status: 416 };
  if (range === 'whole') return { status: 200 };
  return 'ranges' in range ? { status: 206, ranges: range.ranges, size } : { status: 206, range };
}

/** Undefined also when If-Range does not match: the client's part is of other content. */
function rangeHeader(headers: IncomingHttpHeaders, digest: Digest): string | undefined {
  const ifRange = headers['if-range'];
  return ifRange === undefined || ifRange === etagOf(digest) ? headers.range : undefined;
}

/** @throws OciError RANGES_TOO_MANY if the request asks for more ranges than are answered. */
export function refuseTooManyRanges({ headers }: Conditions, digest: Digest): void {
  const header = rangeHeader(headers, digest);
  if (header !== undefined && hasTooManyRanges(header))
    throw new OciError('RANGES_TOO_MANY', `a request may ask for at most ${maxRanges} ranges`);
}

/** The part of the content that a GET asks for. Pure. */
export function partWanted({ headers }: Conditions, digest: Digest, size: number): RequestedRange {
  return parseRange(rangeHeader(headers, digest), size);
}

/** Whether a GET has a condition. Pure. */
export function isConditional({ headers }: Conditions): boolean {
  return headers['if-none-match'] !== undefined;
}

/** Whether the client already has this content, by its If-None-Match. Pure. */
export function hasAlready({ headers }: Pick<Conditions, 'headers'>, digest: Digest): boolean {
  const ifNoneMatch = headers['if-none-match'];
  if (ifNoneMatch === undefined) return false;
  if (ifNoneMatch.trim() === '*') return true;
  return ifNoneMatch.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etagOf(digest));
}

/** The entity tag of content: its digest. */
export function etagOf(digest: Digest): string {
  return `"${digest}"`;
}
