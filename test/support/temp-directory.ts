import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Owner, thisTest } from './owner.ts';

/** An empty directory that is gone, with all it holds, when its owner is done. */
export async function temporaryDirectory(owner: Owner = thisTest): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'layerwell-test-'));
  owner(() => rm(path, { recursive: true, force: true, maxRetries: 5 }));
  return path;
}
