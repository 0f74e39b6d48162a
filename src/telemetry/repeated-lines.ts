/** A line as it is to be logged. */
export interface Line {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

export type WriteLine = (fields: object, message: string) => void;

interface Kind {
  count: number;
  last: { readonly line: Line; readonly write: WriteLine };
}

const periodMs = 60_000;
/** So many lines of a kind are logged in a period; the further ones are counted. */
const maxLines = 10;
/** More kinds than the program has. Further lines share one kind. */
const maxKinds = 1_000;
/** The depth to which chained causes are compared. */
const maxCauses = 5;

/**
 * Limits repeated log lines. When file descriptors run out, for example, every request may log an error: tens of thousands of lines within
 * seconds. Ten lines of a kind are logged each minute, and then one with the number of the suppressed lines.
 */
export class RepeatedLines {
  readonly #kinds = new Map<string, Kind>();
  #timer: NodeJS.Timeout | undefined;

  /** @returns whether the line is to be logged now; otherwise it is counted. */
  admits(level: number, line: Line, write: WriteLine): boolean {
    this.#timer ??= setTimeout(() => this.flush(), periodMs).unref();
    const name = this.#nameOf(level, line);
    const kind = this.#kinds.get(name) ?? { count: 0, last: { line, write } };
    this.#kinds.set(name, kind);
    kind.count += 1;
    kind.last = { line, write };
    return kind.count <= maxLines;
  }

  /** Ends the period: logs what was counted in it. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const kinds = [...this.#kinds.values()];
    this.#kinds.clear();
    for (const { count, last } of kinds) {
      if (count > maxLines) last.write({ ...last.line.fields, repeated: count - maxLines }, last.line.message);
    }
  }

  #nameOf(level: number, line: Line): string {
    const name = `${level} ${kindOf(line)}`;
    return this.#kinds.has(name) || this.#kinds.size < maxKinds ? name : 'other';
  }
}

/** The message, its fields and the code of its error; not the error's text nor a request's id, which differ each time. Pure. */
export function kindOf({ fields, message }: Line): string {
  const { err, requestId: _, ...others } = fields;
  const words = Object.values(others).filter((value) => typeof value === 'string');
  return [message, ...words, ...wordsOf(err)].join(' ');
}

function wordsOf(error: unknown, depth = 0): readonly string[] {
  if (!(error instanceof Error) || depth === maxCauses) return [];
  const code = 'code' in error && typeof error.code === 'string' ? [error.code] : [];
  return [error.name, ...code, ...wordsOf(error.cause, depth + 1)];
}
