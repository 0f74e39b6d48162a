import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { algorithmOf, type Digest, digestOf } from '../../src/oci/digest.ts';
import { parseMarkFile } from '../../src/storage/filesystem/incoming/mark-file.ts';
import { markPath } from '../../src/storage/layout.ts';

/** A file in incoming/ with its mark, looked at from outside the program. */
export interface LeftDownload {
  readonly file: string;
  readonly blob: Digest;
  readonly markedBytes: number;
  readonly fileBytes: number;
  /** Whether the bytes that the mark speaks of are what it says. */
  readonly isAsMarked: boolean;
}

/** What is in incoming/: unfinished blobs that have a mark, and the names of everything else. */
export async function leftDownloads(
  dataDirectory: string,
): Promise<{ readonly left: readonly LeftDownload[]; readonly others: readonly string[] }> {
  const folder = join(dataDirectory, 'incoming');
  const names = new Set(await readdir(folder));
  const left: LeftDownload[] = [];
  for (const name of [...names].filter((one) => names.has(markPath(one)))) {
    const found = await leftAt(join(folder, name));
    if (!found) continue;
    left.push(found);
    names.delete(name);
    names.delete(markPath(name));
  }
  return { left, others: [...names] };
}

async function leftAt(file: string): Promise<LeftDownload | undefined> {
  const marked = parseMarkFile(await readFile(markPath(file)));
  if (!marked) return undefined;
  const { blob, mark } = marked;
  const bytes = await readFile(file);
  const digest = digestOf(bytes.subarray(0, mark.bytes), algorithmOf(blob));
  return { file, blob, markedBytes: mark.bytes, fileBytes: bytes.byteLength, isAsMarked: digest === mark.digest };
}
