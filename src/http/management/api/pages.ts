import { z } from 'zod';

/** The longest position in a list: a host, a repository, a tag, a digest and what JSON adds. */
const longestCursor = 1_600;

/** Its version, and the position. */
const writtenCursor = z.tuple([z.literal(1), z.string()]);

/** A position in a list as clients get it: opaque, so that what it holds may change. Pure. */
export function cursorOf(position: string): string {
  return Buffer.from(JSON.stringify([1, position])).toString('base64url');
}

function positionIn(cursor: string): string | undefined {
  try {
    const [, position] = writtenCursor.parse(JSON.parse(Buffer.from(cursor, 'base64url').toString()));
    return position;
  } catch {
    return undefined;
  }
}

/** The query of every list. Its output has the position that the cursor stands for. */
export const pageQuery = {
  limit: z
    .string()
    .regex(/^[1-9]\d{0,3}$/)
    .transform(Number)
    .refine((limit) => limit <= 1_000, 'expected at most 1000')
    .prefault('100')
    .describe('How many items, at most 1000.'),
  cursor: z
    .string()
    .max(longestCursor)
    .transform((cursor, context) => {
      const position = positionIn(cursor);
      if (position !== undefined) return position;
      context.addIssue('expected the nextCursor of an answer');
      return z.NEVER;
    })
    .optional()
    .describe('The `nextCursor` of the page before.'),
};

/** The answer of a list. */
export function pageOf<Item extends z.ZodType>(id: string, item: Item) {
  return z
    .strictObject({
      items: z.array(item),
      nextCursor: z
        .string()
        .optional()
        .describe('For the next page; absent on the last. A page may be shorter than asked for.'),
    })
    .meta({ id });
}
