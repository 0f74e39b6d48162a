import { z } from 'zod';
import { parseDuration, parseSize } from './units.ts';

/** A reference is replaced when the file is loaded; until then editors must accept it. */
const orReference = '|\\$\\{';

/** A word such as `filesystem`. */
export function word<const Words extends readonly [string, ...string[]]>(words: Words) {
  return z.enum(words, { error: expected(words) });
}

function expected(words: readonly string[]): string {
  return `expected ${words.map((each) => `"${each}"`).join(' or ')}`;
}

/** A duration. @returns a schema whose output is milliseconds. */
export function durationMs() {
  return z
    .string()
    .meta({ title: 'duration', pattern: `^([0-9]+(d|h|m|s|ms))+$|^0$${orReference}` })
    .transform((text, context) => parsed(parseDuration(text), 'expected a duration such as "90s" or "1h30m"', context));
}

/** A duration or `forever`. @returns a schema whose output is milliseconds, Infinity for `forever`. */
export function durationOrForeverMs() {
  return z
    .string()
    .meta({ title: 'duration or forever', pattern: `^([0-9]+(d|h|m|s|ms))+$|^0$|^forever$${orReference}` })
    .transform((text, context) =>
      parsed(
        text === 'forever' ? Number.POSITIVE_INFINITY : parseDuration(text),
        'expected a duration such as "90s" or "1h30m", or "forever"',
        context,
      ),
    );
}

/** An amount of data. @returns a schema whose output is bytes. */
export function bytes() {
  return z
    .string()
    .meta({ title: 'size', pattern: `^[0-9]+([kMGT]?B|[KMGT]iB)$|^0$${orReference}` })
    .transform((text, context) => parsed(parseSize(text), 'expected a size such as "50GiB" or "500MB"', context));
}

function parsed(value: number | undefined, problem: string, context: z.RefinementCtx): number {
  if (value !== undefined) return value;
  context.addIssue(problem);
  return z.NEVER;
}

export function count({ least = 1, most = 1_000_000 }: { readonly least?: number; readonly most?: number } = {}) {
  return z.int().min(least, `expected at least ${least}`).max(most, `expected at most ${most}`);
}

export function port() {
  return count({ least: 0, most: 65_535 });
}

/** Text for a header or a command: control characters could end a header line early (CVE-2023-23936). */
export function text() {
  return z
    .string()
    .min(1, 'expected a text that is not empty')
    .refine((value) => !/\p{Cc}/u.test(value), 'expected no control characters, such as a line break');
}

/** A short name: letters, digits, ".", "_" and "-". */
export function shortName() {
  const pattern = '^[A-Za-z0-9._-]{1,64}$';
  return z
    .string()
    .refine((value) => new RegExp(pattern).test(value), 'expected at most 64 letters, digits, ".", "_" and "-"')
    .meta({ pattern: `${pattern}${orReference}` });
}

/** Relative to the folder of the configuration file: interpolate.ts resolves the keys `path` and `…File`. */
export function path() {
  return z.string().min(1, 'expected a path').meta({ title: 'path' });
}

/** A secret. A file is read each time it is needed, so that the secret can rotate. */
export type Secret =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'file'; readonly path: string };

/** The secret in `key` or in the file that `<key>File` names; both are a problem. */
export function chosenSecret(
  given: { readonly key: string; readonly text: string | undefined; readonly file: string | undefined },
  context: z.RefinementCtx,
): Secret | undefined {
  const { key, text: inline, file } = given;
  if (inline !== undefined && file !== undefined) {
    context.addIssue({ code: 'custom', path: [`${key}File`], message: `expected ${key} or ${key}File, not both` });
  }
  if (file !== undefined) return { kind: 'file', path: file };
  return inline === undefined ? undefined : { kind: 'text', text: inline };
}

/** As {@link chosenSecret}, but none is a problem too. */
export function requiredSecret(given: Parameters<typeof chosenSecret>[0], context: z.RefinementCtx): Secret {
  const secret = chosenSecret(given, context);
  if (secret !== undefined) return secret;
  context.addIssue({ code: 'custom', path: [given.key], message: `expected ${given.key} or ${given.key}File` });
  return z.NEVER;
}
