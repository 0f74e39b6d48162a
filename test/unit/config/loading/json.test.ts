import fc from 'fast-check';
import { expect, test } from 'vitest';
import { JsonError, readJson } from '../../../../src/config/loading/json.ts';

function mistakeIn(text: string): JsonError {
  try {
    readJson(text);
  } catch (cause) {
    if (cause instanceof JsonError) return cause;
    throw cause;
  }
  throw new Error('it was read');
}

test('every JSON text is parsed as JSON.parse does', () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      expect(readJson(text)).toEqual(JSON.parse(text));
    }),
  );
});

test('a text that JSON.parse rejects is rejected with a position in it', () => {
  const damaged = fc
    .tuple(fc.json(), fc.nat(), fc.constantFrom('', ',', '}', '"', '\n', '\u0001', '0', 'x', '\\'))
    .map(([text, at, damage]) => {
      const cut = at % (text.length + 1);
      return text.slice(0, cut) + damage + text.slice(cut + 1);
    });
  fc.assert(
    fc.property(damaged.filter(isNoJson), (text) => {
      const { line, column } = mistakeIn(text);
      expect(line).toBeLessThanOrEqual(text.split('\n').length);
      expect(column).toBeLessThanOrEqual((text.split('\n')[line - 1] ?? '').length + 1);
    }),
    { numRuns: 500 },
  );
});

test.each([
  { what: 'a comma too many', text: '{"a": 1,}', line: 1, column: 9, says: 'expected a key in double quotes' },
  {
    what: 'a forgotten comma',
    text: '{"a": 1\n"b": 2}',
    line: 2,
    column: 1,
    says: 'expected "," or "}" after a value',
  },
  { what: 'a comment', text: '{\n  // no\n}', line: 2, column: 3, says: 'expected a key in double quotes' },
  { what: 'a word without quotes', text: '{\n "a": abc}', line: 2, column: 7, says: 'expected a value' },
  { what: 'an end too early', text: '{"a": [1', line: 1, column: 9, says: 'expected "," or "]" after a value' },
  {
    what: 'text after the end',
    text: '{}\n{}',
    line: 2,
    column: 1,
    says: 'expected nothing after the end of the document',
  },
  { what: 'an empty file', text: '', line: 1, column: 1, says: 'expected a value' },
  { what: 'one key twice', text: '{"a": {},\n "a": {}}', line: 2, column: 2, says: 'the key "a" stands here twice' },
])('$what is reported with its line and column', ({ text, line, column, says }) => {
  expect(mistakeIn(text)).toMatchObject({ line, column, message: says });
});

test('an error next to a secret is reported without the secret', () => {
  expect(mistakeIn('{"password": hunter2}').message).not.toContain('hunter2');
});

test('a byte order mark at the beginning is ignored', () => {
  expect(readJson('\uFEFF{"a": 1}')).toEqual({ a: 1 });
});

function isNoJson(text: string): boolean {
  try {
    JSON.parse(text);
    return false;
  } catch {
    return true;
  }
}
