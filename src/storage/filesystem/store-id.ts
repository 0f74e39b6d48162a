import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { refusesForNow } from '../../mirror/ports/blob-store.ts';
import { storeIdFile } from '../layout.ts';
import type { DurableFolders } from './durable-folders.ts';
import { failedWith, type FileSystem } from './file-system.ts';

const idBytes = 10;
const grammar = /^[0-9a-f]{20}$/;

export interface StoreIdDeps {
  /** The storage path; it exists. */
  readonly folder: string;
  readonly files: Pick<FileSystem, 'open' | 'unlink'>;
  readonly folders: Pick<DurableFolders, 'place' | 'sync' | 'remove'>;
  /** Called when the disk does not take the id: this process then has one of its own. */
  readonly onRefused: (cause: unknown) => void;
}

/**
 * The id of the store, which names the view of it elsewhere. It is made once, and kept in the store.
 * @throws Error when the file cannot be read, or holds something else
 */
export async function storeIdIn({ folder, files, folders, onRefused }: StoreIdDeps): Promise<string> {
  const path = join(folder, storeIdFile);
  const found = await readId(path, files);
  if (found !== undefined) return found;
  const id = randomBytes(idBytes).toString('hex');
  try {
    await writeDurably(path, `${id}\n`, { files, folders });
    await folders.sync(folder);
  } catch (cause) {
    if (!refusesForNow(cause)) throw cause;
    onRefused(cause);
  }
  return id;
}

async function readId(path: string, files: StoreIdDeps['files']): Promise<string | undefined> {
  try {
    const file = await files.open(path, 'read');
    try {
      const bytes = Buffer.alloc(2 * idBytes + 1);
      const length = await file.read(bytes, 0);
      const id = bytes.toString('latin1', 0, length).trim();
      if (grammar.test(id)) return id;
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (failedWith(cause, 'ENOENT')) return undefined;
    throw cause;
  }
  throw new Error(`${path} holds no id of a store: remove it, and another is made`);
}

async function writeDurably(
  path: string,
  text: string,
  { files, folders }: Pick<StoreIdDeps, 'files' | 'folders'>,
): Promise<void> {
  const temporary = `${path}.new`;
  await folders.remove(temporary);
  const file = await files.open(temporary, 'create');
  try {
    await file.write([Buffer.from(text)], 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await folders.place(temporary, path);
}
