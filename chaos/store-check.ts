import { type Digest } from '../src/oci/digest.ts';
import { nodeFiles } from '../src/storage/filesystem/file-system.ts';
import { blobsIn } from '../test/support/files-in.ts';

/** Blobs that are not what their names promise, of those that nobody damaged. */
export async function wrongBlobs(
  dataFolder: string,
  isDamaged: (digest: Digest) => boolean,
): Promise<readonly Digest[]> {
  const blobs = await blobsIn(nodeFiles, dataFolder);
  return [...blobs].filter(([digest, { isWhole }]) => !isWhole && !isDamaged(digest)).map(([digest]) => digest);
}
