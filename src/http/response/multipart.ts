import { randomUUID } from 'node:crypto';
import type { SatisfiableRange } from '../../oci/range.ts';

/** One part of the body: its head, and the range of the content that follows. Offsets are inclusive. */
export interface MultipartPart {
  readonly head: string;
  readonly range: SatisfiableRange;
}

/** An answer with several ranges of the same content. */
export interface Multipart {
  readonly contentType: string;
  /** Of the whole body. */
  readonly contentLength: number;
  readonly parts: readonly MultipartPart[];
  /** What comes after the last part. */
  readonly tail: string;
}

/**
 * The body of an answer to several ranges, without the content. Sources: RFC 9110 §14.6, §15.3.7.2; RFC 2046 §5.1.1.
 * @param of mediaType and size are those of the whole content.
 */
export function multipartOf(
  ranges: readonly SatisfiableRange[],
  of: { readonly mediaType: string; readonly size: number },
  boundary: string = randomUUID(),
): Multipart {
  const parts = ranges.map((range, index) => ({ head: headOf(range, of, { boundary, isFirst: index === 0 }), range }));
  const tail = `\r\n--${boundary}--\r\n`;
  const lengths = parts.map(({ head, range }) => head.length + range.end - range.start + 1);
  return {
    contentType: `multipart/byteranges; boundary=${boundary}`,
    contentLength: lengths.reduce((sum, length) => sum + length, tail.length),
    parts,
    tail,
  };
}

/** In ASCII: as many bytes as characters. */
function headOf(
  { start, end }: SatisfiableRange,
  { mediaType, size }: { readonly mediaType: string; readonly size: number },
  { boundary, isFirst }: { readonly boundary: string; readonly isFirst: boolean },
): string {
  const delimiter = `${isFirst ? '' : '\r\n'}--${boundary}\r\n`;
  return `${delimiter}Content-Type: ${mediaType}\r\nContent-Range: bytes ${start}-${end}/${size}\r\n\r\n`;
}
