import type { RegistryContext } from '../exchange.ts';
import { type LargeBodies, largeBytes } from './large-bodies.ts';

/**
 * Sends the document of an answer, where it is large: at the client's pace, within the memory budget. A small one is left to Koa.
 * @throws when it cannot be sent to its end: the answer must then be cut.
 */
export async function sendDocument(ctx: RegistryContext, large: LargeBodies): Promise<void> {
  const { body }: { readonly body: unknown } = ctx;
  const document = typeof body === 'string' ? body : JSON.stringify(body);
  ctx.body = document;
  if (ctx.method === 'HEAD' || document.length <= largeBytes) return;
  const { exchange } = ctx.state;
  const bytes = Buffer.from(document);
  const begin = () => {
    exchange.begin();
    exchange.bytes = bytes.byteLength;
    ctx.length = bytes.byteLength;
    ctx.respond = false;
  };
  await large.send(ctx.res, { whole: bytes, body: bytes, begin }, exchange);
}
