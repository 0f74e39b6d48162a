interface AnswerHead {
  /** Up to and including the empty line. */
  readonly headBytes: number;
  readonly contentLength: number;
}

/** Finds where the body of each response on one connection begins and ends (RFC 9112 §6.3). */
export class AnswerReader {
  readonly #onBody: (piece: Uint8Array) => void;
  #text = '';
  #contentLength = 0;
  #left = 0;

  constructor(onBody: (piece: Uint8Array) => void) {
    this.#onBody = onBody;
  }

  /** Bytes in the body of the latest response. */
  get size(): number {
    return this.#contentLength;
  }

  /**
   * @returns whether `piece` ends a response.
   * @throws Error if a response is not a 200 with a Content-Length, or is longer than that.
   */
  take(piece: Uint8Array): boolean {
    const body = this.#left > 0 ? piece : this.#afterHead(piece);
    if (body === undefined) return false;
    if (body.length > this.#left) throw new Error('more bytes than the Content-Length says');
    this.#left -= body.length;
    this.#onBody(body);
    return this.#left === 0;
  }

  #afterHead(piece: Uint8Array): Uint8Array | undefined {
    const textBefore = this.#text.length;
    this.#text += Buffer.from(piece).toString('latin1');
    const head = parseAnswerHead(this.#text);
    if (head === undefined) return undefined;
    this.#text = '';
    this.#contentLength = head.contentLength;
    this.#left = head.contentLength;
    return piece.subarray(head.headBytes - textBefore);
  }
}

function parseAnswerHead(text: string): AnswerHead | undefined {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const head = text.slice(0, end);
  const contentLength = /^content-length: *(\d+) *$/im.exec(head)?.[1];
  if (!head.startsWith('HTTP/1.1 200 ') || contentLength === undefined) throw new Error(`answered ${head}`);
  return { headBytes: end + 4, contentLength: Number(contentLength) };
}
