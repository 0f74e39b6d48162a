import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { algorithmOf, type Digest, digestOf } from '../../src/oci/digest.ts';
import { parseCheckpointFile } from '../../src/storage/filesystem/incoming/checkpoint-file.ts';
import { checkpointPath } from '../../src/storage/layout.ts';

/** A file in incoming/ with its checkpoint, looked at from outside the program. */
export interface LeftDownload {
  readonly file: string;
  readonly blob: Digest;
  readonly checkpointBytes: number;
  readonly fileBytes: number;
  /** Whether the bytes that the checkpoint speaks of are what it says. */
  readonly isAsCheckpointed: boolean;
}

/** What is in incoming/: unfinished blobs that have a checkpoint, and the names of everything else. */
export async function leftDownloads(
  dataDirectory: string,
): Promise<{ readonly left: readonly LeftDownload[]; readonly others: readonly string[] }> {
  const folder = join(dataDirectory, 'incoming');
  const names = new Set(await readdir(folder));
  const left: LeftDownload[] = [];
  for (const name of [...names].filter((one) => names.has(checkpointPath(one)))) {
    const found = await leftAt(join(folder, name));
    if (!found) continue;
    left.push(found);
    names.delete(name);
    names.delete(checkpointPath(name));
  }
  return { left, others: [...names] };
}

async function leftAt(file: string): Promise<LeftDownload | undefined> {
  const marked = parseCheckpointFile(await readFile(checkpointPath(file)));
  if (!marked) return undefined;
  const { blob, checkpoint } = marked;
  const bytes = await readFile(file);
  const digest = digestOf(bytes.subarray(0, checkpoint.bytes), algorithmOf(blob));
  return {
    file,
    blob,
    checkpointBytes: checkpoint.bytes,
    fileBytes: bytes.byteLength,
    isAsCheckpointed: digest === checkpoint.digest,
  };
}
