import type { ServerResponse } from 'node:http';
import { sendStretch, type StretchOptions } from './content-response.ts';
import { ClientLeft, type Exchange } from '../registry/exchange.ts';
import type { Multipart } from './multipart.ts';

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
