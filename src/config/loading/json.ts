/** Text that is no JSON, and where: lines and columns count from 1. */
export class JsonError extends Error {
  override readonly name = 'JsonError';
  readonly line: number;
  readonly column: number;

  constructor(problem: string, where: { readonly line: number; readonly column: number }) {
    super(problem);
    this.line = where.line;
    this.column = where.column;
  }
}

const blank = /[ \t\r\n]*/y;
/** RFC 8259 §7: of the control characters only those below U+0020 must be escaped. */
const string = /"(?:(?!\p{Cc})[^"\\]|[\x7f-\x9f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/uy;
const number = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const literal = /(?:true|false|null)\b/y;

/**
 * Reads RFC 8259 JSON. It is not JSON.parse because that quotes the text around a mistake, which may be a secret, tells no place
 * for some mistakes, and lets the second of two equal keys win silently.
 * @throws JsonError
 */
export function readJson(text: string): unknown {
  const reader = new Reader(text.replace(/^\uFEFF/, ''));
  const value = reader.value();
  reader.end();
  return value;
}

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(): unknown {
    this.#take(blank);
    if (this.#takeChar('{')) return this.#object();
    if (this.#takeChar('[')) return this.#array();
    const scalar = this.#take(literal) ?? this.#take(number) ?? this.#take(string);
    return scalar === undefined ? this.#fail('expected a value') : JSON.parse(scalar);
  }

  end(): void {
    this.#take(blank);
    if (this.#at < this.#text.length) this.#fail('expected nothing after the end of the document');
  }

  #object(): unknown {
    const entries = new Map<string, unknown>();
    this.#take(blank);
    if (this.#takeChar('}')) return {};
    do {
      this.#take(blank);
      const before = this.#at;
      const key = this.#key();
      if (entries.has(key)) this.#fail(`the key ${JSON.stringify(key)} stands here twice`, before);
      if (!this.#takeChar(':')) this.#fail('expected ":" after a key');
      entries.set(key, this.value());
      this.#take(blank);
    } while (this.#takeChar(','));
    if (!this.#takeChar('}')) this.#fail('expected "," or "}" after a value');
    return Object.fromEntries(entries);
  }

  #key(): string {
    const key = this.#take(string) ?? this.#fail('expected a key in double quotes');
    this.#take(blank);
    return String(JSON.parse(key));
  }

  #array(): unknown {
    const items: unknown[] = [];
    this.#take(blank);
    if (this.#takeChar(']')) return items;
    do {
      items.push(this.value());
      this.#take(blank);
    } while (this.#takeChar(','));
    if (!this.#takeChar(']')) this.#fail('expected "," or "]" after a value');
    return items;
  }

  #take(token: RegExp): string | undefined {
    token.lastIndex = this.#at;
    const taken = token.exec(this.#text)?.[0];
    this.#at += taken?.length ?? 0;
    return taken;
  }

  #takeChar(char: string): boolean {
    const isThere = this.#text[this.#at] === char;
    if (isThere) this.#at += 1;
    return isThere;
  }

  #fail(problem: string, at = this.#at): never {
    const lines = this.#text.slice(0, at).split('\n');
    throw new JsonError(problem, { line: lines.length, column: (lines.at(-1)?.length ?? 0) + 1 });
  }
}
