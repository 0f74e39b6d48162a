import { distance } from 'fastest-levenshtein';
import type { z } from 'zod';
import { kindsAt, knownKeysAt, type SchemaNode } from './json-schema.ts';

export type KeyPath = readonly PropertyKey[];

export interface Problem {
  readonly path: KeyPath;
  readonly message: string;
}

/**
 * Every problem of a configuration at once, each with its key. Messages never quote values, and the validator's error is not chained,
 * because a value may be a secret.
 */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly string[];

  constructor(file: string, problems: readonly string[], more: { readonly cause?: unknown } = {}) {
    super(`${file} is not usable:\n${problems.map((each) => `  - ${each}`).join('\n')}`, more);
    this.problems = problems;
  }
}

/** `upstreams["ghcr.io"].url: missing` */
export function inWords({ path, message }: Problem): string {
  const where = keyText(path);
  return where === '' ? message : `${where}: ${message}`;
}

/** `upstreams["ghcr.io"].mirrors[0].url` */
export function keyText(path: KeyPath): string {
  return path.map(stepText).join('').replace(/^\./, '');
}

function stepText(step: PropertyKey): string {
  if (typeof step === 'number') return `[${step}]`;
  const name = String(step);
  return /^[A-Za-z$_][\w$]*$/.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`;
}

/** zod's issues as problems, with this project's messages. */
export function problemsOf(issues: readonly z.core.$ZodIssue[], schema: SchemaNode): readonly Problem[] {
  const undecided = new Set(issues.filter(isUndecidedKind).map(({ path }) => keyText(path.slice(0, -1))));
  return issues
    .filter(({ code, path }) => code !== 'unrecognized_keys' || !undecided.has(keyText(path)))
    .flatMap((issue) => problemsOfIssue(issue, schema));
}

/** Whether the issue is about an object's `driver`, `mode` or `kind`. Then its other keys cannot be checked. */
function isUndecidedKind({ path }: z.core.$ZodIssue): boolean {
  return ['driver', 'mode', 'kind'].includes(String(path.at(-1)));
}

function problemsOfIssue(issue: z.core.$ZodIssue, schema: SchemaNode): readonly Problem[] {
  const { path } = issue;
  if (issue.code !== 'unrecognized_keys') return [{ path, message: messageOf(issue, schema) }];
  const known = knownKeysAt(schema, path);
  return issue.keys.map((key) => ({ path: [...path, key], message: unknownKey(key, known) }));
}

function messageOf(issue: Exclude<z.core.$ZodIssue, { code: 'unrecognized_keys' }>, schema: SchemaNode): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.input === undefined ? 'missing' : (expectedByType[issue.expected] ?? issue.message);
    case 'invalid_key':
      return issue.issues[0]?.message ?? issue.message;
    case 'invalid_union':
      return `expected one of ${kindsAt(schema, issue.path).join(', ')}`;
    case 'custom':
    case 'invalid_element':
    case 'invalid_format':
    case 'invalid_value':
    case 'not_multiple_of':
    case 'too_big':
    case 'too_small':
      return issue.message;
  }
}

const expectedByType: Readonly<Record<string, string>> = {
  string: 'expected a quoted string',
  number: 'expected a number',
  int: 'expected a whole number',
  boolean: 'expected true or false',
  array: 'expected a list',
  object: 'expected an object',
  record: 'expected an object',
};

function unknownKey(key: string, known: readonly string[]): string {
  const close = closest(key, known);
  return close === undefined ? 'unknown key' : `unknown key; did you mean ${close}?`;
}

/** The closest candidate: apart from its case at most two typos away, or longer by an ending. */
function closest(key: string, candidates: readonly string[]): string | undefined {
  const typed = key.toLowerCase();
  const isClose = (candidate: string) =>
    candidate.toLowerCase().startsWith(typed) || distance(typed, candidate.toLowerCase()) <= 2;
  const byDistance = candidates.toSorted((a, b) => distance(typed, a.toLowerCase()) - distance(typed, b.toLowerCase()));
  return byDistance.find(isClose);
}
