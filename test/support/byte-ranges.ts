import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Content } from './images.ts';

export interface ReadPart {
  readonly start: number;
  readonly end: number;
  readonly size: number;
  readonly mediaType: string;
  /** SHA-256 of its bytes. */
  readonly hash: string;
}

/** First and last byte of each range. */
export type Positions = readonly (readonly [number, number])[];

/** A question for several ranges. */
export function asking(...ranges: Positions) {
  return { headers: { range: `bytes=${ranges.map((one) => one.join('-')).join()}` } };
}

/** What {@link partsIn} should find in an answer with those ranges of a blob. */
export function partsOf(blob: Content, ranges: Positions): ReadPart[] {
  return ranges.map(([start, end]) => ({
    start,
    end,
    size: blob.bytes.length,
    mediaType: 'application/octet-stream',
    hash: hashOf(blob.bytes.subarray(start, end + 1)),
  }));
}

interface MultipartAnswer {
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Reads an answer to several ranges, whose boundary containers/image must find. @throws where a byte of it is out of place. */
export function partsIn({ headers, body }: MultipartAnswer): ReadPart[] {
  const [, boundary] = /^multipart\/byteranges; boundary=([A-Za-z0-9:-]+)$/.exec(headers['content-type'] ?? '') ?? [];
  if (boundary === undefined) throw new Error(`no multipart: ${headers['content-type']}`);
  if (Number(headers['content-length']) !== body.length) throw new Error('Content-Length is wrong');
  const parts: ReadPart[] = [];
  let position = 0;
  const textUntil = (end: string): string => {
    const from = position;
    position = body.indexOf(end, from) + end.length;
    return body.toString('latin1', from, position);
  };
  for (;;) {
    const head = textUntil('\r\n\r\n');
    const [, mediaType, start, end, size] =
      /^--.*\r\nContent-Type: (.*)\r\nContent-Range: bytes (\d+)-(\d+)\/(\d+)\r\n\r\n$/.exec(head) ?? [];
    if (!head.startsWith(`--${boundary}\r\n`) || mediaType === undefined) throw new Error(`no head of a part: ${head}`);
    const bytes = body.subarray(position, position + Number(end) - Number(start) + 1);
    position += bytes.length;
    parts.push({ start: Number(start), end: Number(end), size: Number(size), mediaType, hash: hashOf(bytes) });
    if (textUntil('\r\n') !== '\r\n') throw new Error('a part is longer than it says');
    if (body.toString('latin1', position) === `--${boundary}--\r\n`) return parts;
  }
}

export function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
