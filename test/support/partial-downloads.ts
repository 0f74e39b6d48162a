import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { algorithmOf, type Digest, digestOf } from '../../src/oci/digest.ts';
import { parseCheckpointFile } from '../../src/storage/filesystem/incoming/checkpoint-file.ts';
import { checkpointPath } from '../../src/storage/layout.ts';

/** A file in incoming/ with its checkpoint, read from outside the program. */
export interface PartialDownload {
  readonly file: string;
  readonly blob: Digest;
  readonly checkpointBytes: number;
  readonly fileBytes: number;
  /** Whether the bytes up to the checkpoint have its hash. */
  readonly matchesCheckpoint: boolean;
}

/** Reads incoming/: partial downloads with a checkpoint, and the names of other files. */
export async function partialDownloads(
  dataDirectory: string,
): Promise<{ readonly left: readonly PartialDownload[]; readonly others: readonly string[] }> {
  const folder = join(dataDirectory, 'incoming');
  const names = new Set(await readdir(folder));
  const left: PartialDownload[] = [];
  for (const name of [...names].filter((one) => names.has(checkpointPath(one)))) {
    const found = await leftAt(join(folder, name));
    if (!found) continue;
    left.push(found);
    names.delete(name);
    names.delete(checkpointPath(name));
  }
  return { left, others: [...names] };
}

async function leftAt(file: string): Promise<PartialDownload | undefined> {
  const parsed = parseCheckpointFile(await readFile(checkpointPath(file)));
  if (!parsed) return undefined;
  const { blob, checkpoint } = parsed;
  const bytes = await readFile(file);
  const digest = digestOf(bytes.subarray(0, checkpoint.bytes), algorithmOf(blob));
  return {
    file,
    blob,
    checkpointBytes: checkpoint.bytes,
    fileBytes: bytes.byteLength,
    matchesCheckpoint: digest === checkpoint.digest,
  };
}
