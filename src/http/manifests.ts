import type { Mirror, Place } from '../mirror/mirror.ts';
import type { Clock } from '../mirror/ports.ts';
import type { Reference } from '../oci/reference.ts';
import type { AnswersTogether } from './answers-together.ts';
import { sendBytes, sendFacts } from './content-response.ts';
import type { RegistryContext } from './exchange.ts';

export interface ManifestAnswerDeps {
  readonly mirror: Mirror;
  readonly clock: Clock;
  readonly together: AnswersTogether;
}

/** GET and HEAD of a manifest: bytes and media type exactly as they came, whatever the client accepts. */
export async function answerManifest(
  ctx: RegistryContext,
  { mirror, clock, together }: ManifestAnswerDeps,
  place: Place,
  reference: Reference,
): Promise<void> {
  const isHead = ctx.method === 'HEAD';
  const manifest = await mirror.manifest(place, reference, isHead, ctx.state.exchange);
  const facts = { ...manifest, ageMs: clock.now() - manifest.confirmedAtMs };
  if (isHead || manifest.bytes === undefined) sendFacts(ctx, facts);
  else sendBytes(ctx, facts, manifest.bytes, together);
}
