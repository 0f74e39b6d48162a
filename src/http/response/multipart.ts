import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { SatisfiableRange } from '../../oci/range.ts';
import { ClientLeft, type Exchange } from '../server/exchange.ts';
import { sendStretch, type StretchOptions } from './body-pump.ts';

/** One part of the body: its header lines, and the range of content after them. Offsets are inclusive. */
export interface MultipartPart {
  readonly head: string;
  readonly range: SatisfiableRange;
}

/** An answer with several ranges of the same content. */
export interface Multipart {
  readonly contentType: string;
  /** The length of the whole body. */
  readonly contentLength: number;
  readonly parts: readonly MultipartPart[];
  /** The closing boundary. */
  readonly tail: string;
}

/**
 * The body of an answer to several ranges, without the content. Sources: RFC 9110 §14.6, §15.3.7.2; RFC 2046 §5.1.1.
 * @param content the media type and the size of the whole content.
 */
export function multipartOf(
  ranges: readonly SatisfiableRange[],
  content: { readonly mediaType: string; readonly size: number },
  boundary: string = randomUUID(),
): Multipart {
  const parts = ranges.map((range, index) => ({
    head: headOf(range, content, { boundary, isFirst: index === 0 }),
    range,
  }));
  const tail = `\r\n--${boundary}--\r\n`;
  const lengths = parts.map(({ head, range }) => head.length + range.end - range.start + 1);
  return {
    contentType: `multipart/byteranges; boundary=${boundary}`,
    contentLength: lengths.reduce((sum, length) => sum + length, tail.length),
    parts,
    tail,
  };
}

/** ASCII only, so its length is its size in bytes. */
function headOf(
  { start, end }: SatisfiableRange,
  { mediaType, size }: { readonly mediaType: string; readonly size: number },
  { boundary, isFirst }: { readonly boundary: string; readonly isFirst: boolean },
): string {
  const delimiter = `${isFirst ? '' : '\r\n'}--${boundary}\r\n`;
  return `${delimiter}Content-Type: ${mediaType}\r\nContent-Range: bytes ${start}-${end}/${size}\r\n\r\n`;
}

/** The source of the parts, and how the answer begins. */
export type MultipartOptions = Omit<StretchOptions, 'start' | 'end' | 'readBytes' | 'hasMore'>;

/**
 * Sends several ranges of a source, one after another, each at the client's pace.
 * @throws when the source fails or ends early: the answer must then be cut, never finished.
 */
export async function sendMultipart(
  response: ServerResponse,
  exchange: Exchange,
  { begin = () => {}, ...options }: MultipartOptions,
  { parts, tail }: Multipart,
): Promise<void> {
  let readBytes = 0;
  for (const [index, { head, range }] of parts.entries()) {
    const beginPart = () => {
      if (index === 0) begin();
      writeText(response, exchange, head);
    };
    const end = range.end + 1;
    await sendStretch(response, exchange, {
      ...options,
      start: range.start,
      end,
      readBytes,
      begin: beginPart,
      hasMore: true,
    });
    readBytes = end;
  }
  writeText(response, exchange, tail);
  response.end();
}

/** Writes a few bytes without waiting for the client; the content that follows them waits. */
function writeText(response: ServerResponse, exchange: Exchange, text: string): void {
  if (response.destroyed) throw new ClientLeft();
  response.write(text, 'latin1');
  exchange.bytes += text.length;
}
