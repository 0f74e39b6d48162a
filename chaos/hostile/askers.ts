import { ask } from '../clients/ask.ts';
import { largeManifests } from './hostile-answers.ts';
import type { HostileName } from './hostile-registries.ts';
import type { HostileTurn } from './hostile-clients.ts';

/** Requests a blob from a registry that never answers, or never ends its response, and leaves after a while. */
export async function askUnanswered({ mirror, dice, agent, ledger }: HostileTurn, from: HostileName): Promise<void> {
  const digest = `sha256:${dice.below(1_000_000).toString(16).padStart(64, '0')}`;
  const path = `/v2/some/app/blobs/${digest}?ns=${from}`;
  const answer = await ask({ origin: mirror.origin, path, agent, leaveAfterMs: dice.between(2_000, 20_000) });
  ledger.count('answers of hostile registries', `${from}: ${answer.end} ${answer.status || ''}`);
}

/** Requests a blob of another registry from the hostile one. A complete response must have the right bytes. */
export async function askForForeignBlob({ world, mirror, dice, agent, ledger }: HostileTurn): Promise<void> {
  const image = dice.pick(world.filter(({ kind }) => kind === 'healthy'));
  const { digest } = dice.pick(image.image.blobs);
  const path = `/v2/${image.repository}/blobs/${digest}?ns=hostile.test`;
  const answer = await ask({ origin: mirror.origin, path, agent, leaveAfterMs: dice.between(1_000, 10_000) });
  ledger.count('answers of hostile registries', `hostile.test: ${answer.end} ${answer.status || ''}`);
  if (answer.end === 'complete' && answer.status === 200 && answer.digest !== digest)
    ledger.violate(`GET ${path}: wrong bytes, ${answer.digest}`);
}

/** Requests manifests of 4 MB, large lists, and an endless list. */
export async function askOversized({ mirror, dice, agent, ledger }: HostileTurn): Promise<void> {
  const path = dice.pick([
    `/v2/large/app/manifests/v${dice.below(largeManifests)}?ns=oversized.test`,
    `/v2/large/app/manifests/v${dice.below(largeManifests)}?ns=oversized.test`,
    `/v2/large/tags/tags/list?ns=oversized.test&n=${dice.pick([1, 1_000])}`,
    `/v2/large/endless/tags/list?ns=oversized.test`,
  ]);
  const answer = await ask({ origin: mirror.origin, path, agent, leaveAfterMs: dice.between(1_000, 20_000) });
  ledger.count('answers of hostile registries', `oversized.test: ${answer.end} ${answer.status || ''}`);
}
