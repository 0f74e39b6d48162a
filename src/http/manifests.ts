import type { Mirror, Place } from '../mirror/mirror.ts';
import type { Clock } from '../mirror/ports.ts';
import type { Reference } from '../oci/reference.ts';
import { sendBytes } from './content-response.ts';
import type { RegistryContext } from './exchange.ts';

/** GET and HEAD of a manifest: bytes and media type exactly as they came, whatever the client accepts. */
export async function answerManifest(
  ctx: RegistryContext,
  { mirror, clock }: { readonly mirror: Mirror; readonly clock: Clock },
  place: Place,
  reference: Reference,
): Promise<void> {
  const manifest = await mirror.manifest(place, reference, ctx.method === 'HEAD', ctx.state.exchange);
  sendBytes(ctx, { ...manifest, ageMs: clock.now() - manifest.confirmedAtMs }, manifest.bytes);
}
