import type { LocatedRepository, Mirror, ServedManifest } from '../../mirror/mirror.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import { isDigest } from '../../oci/digest.ts';
import type { Reference } from '../../oci/reference.ts';
import { hasAlready, isConditional } from '../response/conditions.ts';
import { sendBytes, sendFacts } from '../response/content-response.ts';
import type { Senders } from '../response/memory-bodies.ts';
import type { RegistryContext } from '../server/exchange.ts';

export interface ManifestAnswerDeps extends Senders {
  readonly mirror: Mirror;
  readonly clock: Clock;
}

/**
 * GET and HEAD of a manifest: bytes and media type as the upstream sent them, whatever the client accepts. A conditional GET is first looked
 * up like a HEAD, so that nothing is downloaded for a 304.
 */
export function answerManifest(
  ctx: RegistryContext,
  deps: ManifestAnswerDeps,
  located: LocatedRepository,
  reference: Reference,
): Promise<void> | void {
  const isHead = ctx.method === 'HEAD';
  const mayNeedNoBytes = isDigest(reference) ? hasAlready(ctx.req, reference) : isConditional(ctx.req);
  const looked = deps.mirror.manifest(located, reference, isHead || mayNeedNoBytes, ctx.state.exchange);
  return 'then' in looked ? sendLooked(ctx, deps, { located, reference, looked }) : send(ctx, deps, looked);
}

async function sendLooked(
  ctx: RegistryContext,
  deps: ManifestAnswerDeps,
  asked: { located: LocatedRepository; reference: Reference; looked: Promise<ServedManifest> },
): Promise<void> {
  const { located, reference } = asked;
  const looked = await asked.looked;
  const isHead = ctx.method === 'HEAD';
  const needsBytes = !isHead && looked.bytes === undefined && !hasAlready(ctx.req, looked.digest);
  const manifest = needsBytes ? await deps.mirror.manifest(located, reference, false, ctx.state.exchange) : looked;
  return send(ctx, deps, manifest);
}

function send(ctx: RegistryContext, deps: ManifestAnswerDeps, manifest: ServedManifest): Promise<void> | void {
  const facts = { ...manifest, ageMs: deps.clock.now() - manifest.confirmedAtMs };
  if (ctx.method === 'HEAD' || manifest.bytes === undefined) sendFacts(ctx, facts);
  else return sendBytes(ctx, facts, manifest.bytes, deps);
}
