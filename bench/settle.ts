import { execFile } from 'node:child_process';
import { open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** More than any run stores. */
const scratchBytes = 768 * 1024 * 1024;
const pieceBytes = 1024 * 1024;

/**
 * Brings the disk and the page cache to the same state before each measurement. It syncs what earlier runs wrote, so that no fsync pays
 * for the bytes of another run. Then it writes and removes a scratch file, so that the next run writes into page cache memory that was
 * used before. On a virtual machine, the first use of memory makes the host allocate it page by page, which costs ten times as much as
 * the copying.
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
