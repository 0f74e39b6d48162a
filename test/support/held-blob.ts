import { type FakeRegistry, startFakeRegistry } from './fake-registry.ts';
import { type Gate, gate } from './gate.ts';
import { type Content, randomBlob } from './images.ts';
import { type Replaced, type RunningApp, startApp } from './start-app.ts';
import { type MirrorConfig, mirrorOf } from './start-mirror.ts';

export interface HeldBlob {
  readonly upstream: FakeRegistry;
  readonly app: RunningApp;
  readonly blob: Content;
  /** Where clients ask the mirror for it. */
  readonly path: string;
  /** Lets the upstream continue. */
  readonly held: Gate;
}

/** A mirror of an upstream with one blob of this size, which sends only the given bytes until the gate opens. */
export async function startHolding(
  bytes: number,
  sent: 'nothing' | { readonly bytes: number },
  config: MirrorConfig = {},
  replaced: Replaced = {},
): Promise<HeldBlob> {
  const repository = 'library/app';
  const upstream = await startFakeRegistry();
  const blob = randomBlob(bytes);
  upstream.content.addBlob(repository, blob);
  const held = gate();
  const fault = sent === 'nothing' ? { holdHeaders: held } : { holdBody: { afterBytes: sent.bytes, until: held } };
  upstream.script({ path: /\/blobs\// }, fault);
  const app = await startApp(mirrorOf(upstream, config), replaced);
  return { upstream, app, blob, path: `/v2/${repository}/blobs/${blob.digest}`, held };
}
