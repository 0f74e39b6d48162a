import { printable } from './client.ts';
import { bytesText } from '../../http/management/pages/drawing/words.ts';

/** Where progress is shown: beside the output of a command, which may go into a file. */
export interface ProgressOutput {
  readonly printError: (text: string) => void;
  /** The width of the terminal that `printError` writes to; undefined if it is none. */
  readonly columns: (() => number) | undefined;
}

export interface Progress {
  readonly done: number;
  /** Undefined if it is not known. */
  readonly total: number | undefined;
  /** What follows the bar. */
  readonly text: string;
}

/** Lines of what has ended, and on a terminal below them a bar of what runs. Elsewhere there is no bar. */
export class ProgressBar {
  readonly #output: ProgressOutput;
  #shown = '';

  constructor(output: ProgressOutput) {
    this.#output = output;
  }

  /** Prints a line. */
  line(text: string): void {
    this.#output.printError(`${this.#shown && clearLine}${printable(text)}\n${this.#shown}`);
  }

  show(progress: Progress): void {
    const { columns, printError } = this.#output;
    if (!columns) return;
    const text = barText(progress, columns());
    if (text === this.#shown) return;
    this.#shown = text;
    printError(`${clearLine}${text}`);
  }

  /** Removes the bar. */
  end(): void {
    if (this.#shown !== '') this.#output.printError(clearLine);
    this.#shown = '';
  }
}

/** To the first column, and erase to the end of the line (ECMA-48). */
const clearLine = '\r\u001b[K';
const longestBar = 30;

/** `[#######-------] 50 % text`, or the text alone, at most so many columns wide. Pure. */
export function barText({ done, total, text }: Progress, columns: number): string {
  const clean = printable(text).replaceAll('\n', ' ');
  const width = Math.min(longestBar, columns - clean.length - 10);
  const share = total === undefined || total === 0 ? undefined : Math.min(1, done / total);
  if (share === undefined || width < 5) return clean.slice(0, Math.max(0, columns - 1));
  const filled = Math.floor(width * share);
  const percent = String(Math.floor(100 * share)).padStart(3);
  return `[${'#'.repeat(filled)}${'-'.repeat(width - filled)}] ${percent} % ${clean}`;
}

export interface CountedBytes {
  readonly chunks: AsyncIterable<Uint8Array>;
  /** So far. */
  readonly bytes: () => number;
}

const showsEveryMs = 200;

/** Bytes that pass, which a bar tells of on a terminal. */
export function countedBytes(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  output: ProgressOutput,
  total?: number,
): CountedBytes {
  let bytes = 0;
  const bar = new ProgressBar(output);
  async function* chunks() {
    let shownMs = -Infinity;
    try {
      for await (const chunk of source) {
        bytes += chunk.byteLength;
        if (performance.now() - shownMs >= showsEveryMs) {
          shownMs = performance.now();
          bar.show({ done: bytes, total, text: bytesText(bytes) });
        }
        yield chunk;
      }
    } finally {
      bar.end();
    }
  }
  return { chunks: chunks(), bytes: () => bytes };
}
