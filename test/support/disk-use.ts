import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { DiskUse } from '../../src/mirror/ports/record-store.ts';

/** Everything below a folder as `du` counts it: the blocks of files and folders, and how many there are. */
export async function diskUseOf(folder: string): Promise<DiskUse> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  // What vanished since it was listed takes nothing.
  const blocks = await Promise.all(
    entries.map((entry) => lstat(join(entry.parentPath, entry.name)).then(blocksOf, () => undefined)),
  );
  const found = blocks.filter((count) => count !== undefined);
  return { bytes: 512 * found.reduce((sum, count) => sum + count, 0), files: found.length };
}

function blocksOf({ blocks }: { readonly blocks: number }): number {
  return blocks;
}
