import { execFile } from 'node:child_process';
import { open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** More than one run stores anywhere. */
const scratchBytes = 768 * 1024 * 1024;
const pieceBytes = 1024 * 1024;

/**
 * Makes the disk and the page cache the same for whoever is measured next. What earlier runs wrote is written out, so that nobody's
 * fsync pays for another's bytes. Then a scratch file is written and removed: the memory it lay in is what the next one writes
 * into. Without it, on a virtual machine, whoever happens to get memory that was never touched pays its host for it, page by
 * page: ten times the price of the copying.
 */
export async function settle(folder: string): Promise<void> {
  await run('sync', ['-f', folder]);
  const path = join(folder, 'scratch');
  const piece = Buffer.alloc(pieceBytes, 1);
  try {
    await using file = await open(path, 'w');
    for (let written = 0; written < scratchBytes; written += pieceBytes) await file.write(piece);
  } finally {
    await unlink(path);
  }
}
