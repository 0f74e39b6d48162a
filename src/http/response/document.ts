import type { RegistryContext } from '../server/exchange.ts';
import { type LargeBodies, largeBytes } from './memory-bodies.ts';

/** A JSON document that is rendered only when memory is reserved for it. */
export interface Document {
  /** Its approximate length as JSON. */
  readonly bytes: number;
  /** Makes the document, and sets its headers. */
  readonly value: () => object;
}

/**
 * Sends a document: a small one by Koa, a large one at the client's pace. A large one is dropped while it waits for memory, and looked up
 * again.
 * @throws when it cannot be sent to its end: the answer must then be cut.
 */
export async function sendDocument(
  ctx: RegistryContext,
  large: LargeBodies,
  look: () => Promise<Document>,
): Promise<void> {
  const bytes = sendIfSmall(ctx, await look());
  if (bytes === undefined) return;
  const { exchange } = ctx.state;
  const make = async () => {
    const body = Buffer.from(write(ctx, await look()));
    const begin = () => {
      exchange.begin();
      exchange.bytes = body.byteLength;
      ctx.length = body.byteLength;
      ctx.respond = false;
    };
    ctx.body = ''; // So that Koa does not hold a second copy.
    return { body, begin };
  };
  await large.sendMade(ctx.res, { bytes, make }, exchange);
}

/** @returns the size of a document that is too large to be sent at once; undefined when it was sent. */
function sendIfSmall(ctx: RegistryContext, document: Document): number | undefined {
  if (ctx.method !== 'HEAD' && document.bytes > largeBytes) return document.bytes;
  write(ctx, document);
  return undefined;
}

function write(ctx: RegistryContext, { value }: Document): string {
  const document = value();
  ctx.body = document;
  const text = JSON.stringify(document);
  ctx.body = text;
  return text;
}
