import type { RegistryContext } from '../exchange.ts';
import { type LargeBodies, largeBytes } from './large-bodies.ts';

/** What an answer is made of, once there is memory for it. */
export interface Document {
  /** About as long as it is as JSON. */
  readonly bytes: number;
  /** Sets the headers that go with it. */
  readonly value: () => object;
}

/**
 * Sends a document. A small one is left to Koa. Of a large one nothing is kept while it waits for memory: it is looked up again when there is
 * some, and sent at the client's pace.
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
    ctx.body = ''; // Koa need not hold it as well.
    return { body, begin };
  };
  await large.sendMade(ctx.res, { bytes, make }, exchange);
}

/** @returns how large it is, where it is too large to be sent at once. */
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
