import { getLocation, getNodeValue, type Node, type ParseError, parseTree, printParseErrorCode } from 'jsonc-parser';

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

/**
 * Reads RFC 8259 JSON. JSON.parse is no choice: its errors quote the text around a mistake, which may be a secret, some have no position,
 * and the second of two equal keys wins silently.
 * @throws JsonError
 */
export function readJson(text: string): unknown {
  const json = text.replace(/^\uFEFF/, '');
  const errors: ParseError[] = [];
  const root = parseTree(json, errors, { disallowComments: true });
  const [first] = errors;
  if (!root || first) throw errorAt(json, first?.offset ?? 0, first ? expectedAt(json, first) : 'expected a value');
  refuseRepeatedKeys(json, root);
  return getNodeValue(root);
}

function errorAt(json: string, offset: number, problem: string): JsonError {
  const lines = json.slice(0, offset).split('\n');
  return new JsonError(problem, { line: lines.length, column: (lines.at(-1)?.length ?? 0) + 1 });
}

/** What the parser missed, by its name for the error. */
const missing: Readonly<Record<string, string>> = {
  ColonExpected: 'expected ":" after a key',
  EndOfFileExpected: 'expected nothing after the end of the document',
};
const afterValue: ReadonlySet<string> = new Set(['CommaExpected', 'CloseBraceExpected', 'CloseBracketExpected']);

function expectedAt(json: string, { error, offset }: ParseError): string {
  const code = printParseErrorCode(error);
  const { isAtPropertyKey, path } = getLocation(json, offset);
  if (afterValue.has(code)) return `expected "," or "${typeof path.at(-1) === 'number' ? ']' : '}'}" after a value`;
  return missing[code] ?? (isAtPropertyKey ? 'expected a key in double quotes' : 'expected a value');
}

/** @throws JsonError */
function refuseRepeatedKeys(json: string, { type, children = [] }: Node): void {
  const keys = new Set<unknown>();
  for (const child of children) {
    const key = type === 'object' ? child.children?.[0] : undefined;
    if (key && keys.has(key.value))
      throw errorAt(json, key.offset, `the key ${JSON.stringify(key.value)} stands here twice`);
    if (key) keys.add(key.value);
    refuseRepeatedKeys(json, child);
  }
}
