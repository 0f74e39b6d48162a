import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Background } from '../../../../src/mirror/concurrency/background.ts';
import { createFreshnessPolicies } from '../../../../src/mirror/tags/freshness.ts';
import { BorrowedLinks } from '../../../../src/mirror/access/links.ts';
import { UpstreamWaiters } from '../../../../src/mirror/concurrency/upstream-waiters.ts';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { Manifests } from '../../../../src/mirror/manifests/manifests.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { ociManifest } from '../../../../src/oci/media-types.ts';
import { configOf } from '../../../support/config.ts';
import { fileStores } from '../../../support/file-stores.ts';
import { gate } from '../../../support/gate.ts';
import { image } from '../../../support/images.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { MemoryIndex } from '../../../support/memory-index.ts';
import { ScriptedFiles } from '../../../support/scripted-files.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/app') };
const { manifest } = image();

test('a manifest that is stored again is not the next to be evicted meanwhile', async () => {
  const files = new ScriptedFiles();
  const stores = fileStores({ path: join(await temporaryDirectory(), 'data'), files });
  await stores.store.prepare();
  const disk = gate();
  files.before = () => disk.opened;
  const index = new MemoryIndex();
  index.recordContent({ ...manifest, size: manifest.bytes.length, isManifest: true, names: [], usedAtMs: 1 });
  const observer = new RecordingObserver();
  const background = new Background({ observer });
  const { freshness } = await configOf({ upstreams: { 'docker.io': {} } });
  const policies = createFreshnessPolicies(new Map(), freshness);
  const makeRoom = async () => true;
  const memoryBytes = 1024 * 1024;
  const borrowedLinks = new BorrowedLinks({ index, observer });
  const memory = new MemoryBudget({ maxBytes: 64 * 1024 * 1024 });
  const manifests = new Manifests({
    memory,
    ...stores,
    index,
    borrowedLinks,
    background,
    waiters: new UpstreamWaiters({ maxRequests: 1_000, clock: new ManualClock(), observer }),
    observer,
    policies,
    memoryBytes,
    makeRoom,
  });

  manifests.keep(repositoryId, { ...manifest, mediaType: ociManifest });
  expect(index.contents.get(manifest.digest)?.usedAtMs).toBe(stores.clock.now());
  disk.open();
  await background.idle();
});
