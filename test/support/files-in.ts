import { algorithmOf, type Digest, digestOf } from '../../src/oci/digest.ts';
import { filesBelow, type FileSystem } from '../../src/storage/filesystem/file-system.ts';
import { blobsFolder, digestAt } from '../../src/storage/layout.ts';

/** Files in a store that are named after a digest. Their bytes are not verified. */
export async function blobsIn(
  files: FileSystem,
  path: string,
): Promise<ReadonlyMap<Digest, { readonly size: number; readonly isWhole: boolean }>> {
  const found = new Map<Digest, { size: number; isWhole: boolean }>();
  for await (const file of filesBelow(files, path, blobsFolder)) {
    const digest = digestAt(file);
    if (!digest) continue;
    const bytes = await readWhole(files, `${path}/${file}`);
    found.set(digest, { size: bytes.length, isWhole: digestOf(bytes, algorithmOf(digest)) === digest });
  }
  return found;
}

/** Names in a folder. */
export async function namesIn(files: FileSystem, folder: string): Promise<readonly string[]> {
  return (await Array.fromAsync(files.entries(folder))).map(({ name }) => name);
}

async function readWhole(files: FileSystem, path: string): Promise<Buffer> {
  const file = await files.open(path, 'read');
  const { size } = await file.status();
  const bytes = Buffer.alloc(size);
  await file.read(bytes, 0);
  await file.close();
  return bytes;
}
