import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest } from '../src/oci/digest.ts';
import { nodeFiles } from '../src/storage/filesystem/file-system.ts';
import { blobsIn } from '../test/support/files-in.ts';

/** Blobs that do not match their digest, except those that the run damaged. */
export async function wrongBlobs(dataFolder: string, isDamaged: (digest: Digest) => boolean): Promise<Digest[]> {
  const blobs = await blobsIn(nodeFiles, dataFolder);
  return [...blobs].filter(([digest, { isWhole }]) => !isWhole && !isDamaged(digest)).map(([digest]) => digest);
}

/** Disk use of all files below a folder. Files that vanish meanwhile count zero. */
export async function bytesBelow(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const blocks = await Promise.all(
    files.map((file) =>
      stat(file).then(
        (status) => status.blocks,
        () => 0,
      ),
    ),
  );
  return blocks.reduce((sum, count) => sum + count * blockBytes, 0);
}

/** The unit of `blocks` in stat(2). */
const blockBytes = 512;
