import { type BigIntStats, constants } from 'node:fs';
import {
  access,
  type FileHandle,
  lstat,
  mkdir,
  open,
  opendir,
  rename,
  rmdir,
  stat,
  statfs,
  unlink,
} from 'node:fs/promises';
import type { FreeSpace } from '../../mirror/ports/blob-store.ts';

/**
 * Everything the stores ask of the disk. Each verb is one system call and fails as it does: with an Error that has the errno's
 * name as its `code`. Paths are absolute.
 */
export interface FileSystem {
  /** `read`: a file or a folder that exists. `change`: a file that exists. `create`: a new one, for its owner alone; EEXIST where there is one. */
  open(path: string, use: FileUse): Promise<OpenFile>;
  /** One level, for its owner alone. */
  mkdir(path: string): Promise<void>;
  /** Only an empty one: ENOTEMPTY otherwise. */
  rmdir(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  stat(path: string): Promise<FileStatus>;
  /** What lies at `path` itself: a symbolic link is not followed. */
  lstat(path: string): Promise<EntryStatus>;
  /** Whether this process may make files in a folder: EACCES or EROFS where not. A full disk is no reason. */
  mayChange(folder: string): Promise<void>;
  /** What a folder holds, in no order, read as it is walked. */
  entries(path: string): AsyncIterable<FolderEntry>;
  /** What is still free on the disk `path` is on. */
  freeSpace(path: string): Promise<FreeSpace>;
}

export type FileUse = 'read' | 'change' | 'create';

/** A file that is open. Closing waits for the calls that are under way, so none of them can reach another file's bytes. */
export interface OpenFile {
  /** pread(2). @returns how many bytes were read; 0 at the end. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** pwritev(2). @returns how many bytes were taken, which may be fewer than there are. */
  write(chunks: readonly Uint8Array[], position: number): Promise<number>;
  /** ftruncate(2). */
  truncate(size: number): Promise<void>;
  /** fsync(2), of a folder as well. */
  sync(): Promise<void>;
  status(): Promise<FileStatus>;
  close(): Promise<void>;
}

export interface FileStatus {
  readonly size: number;
  readonly modifiedAtMs: number;
}

export interface EntryStatus {
  readonly kind: 'file' | 'folder' | 'link' | 'other';
  /** Of the device and the inode: another one after the path was renamed and made anew. */
  readonly identity: string;
}

export interface FolderEntry {
  readonly name: string;
  readonly kind: 'file' | 'folder' | 'other';
}

/** The machine's own. */
export const nodeFiles: FileSystem = {
  open: async (path, use) => openFile(await open(path, flagsFor[use], 0o600)),
  mkdir: (path) => mkdir(path, { mode: 0o700 }),
  rmdir: (path) => rmdir(path),
  rename: (from, to) => rename(from, to),
  unlink: (path) => unlink(path),
  stat: async (path) => statusFrom(await stat(path)),
  lstat: async (path) => {
    const found = await lstat(path, { bigint: true });
    return { kind: kindOf(found), identity: `${found.dev}:${found.ino}` };
  },
  mayChange: (folder) => access(folder, constants.W_OK | constants.X_OK),
  entries: entriesOf,
  freeSpace: async (path) => {
    const { bavail, bsize, files, ffree } = await statfs(path);
    // btrfs and most network file systems make inodes as they are needed, and say 0.
    return files === 0 ? { bytes: bavail * bsize } : { bytes: bavail * bsize, inodes: { free: ffree, all: files } };
  },
};

const flagsFor: Readonly<Record<FileUse, number>> = {
  read: constants.O_RDONLY,
  change: constants.O_RDWR,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
};

/** FileHandle, because it counts its calls and closes after the last; fs.read on its number is no faster with pieces of 512 KiB. */
function openFile(handle: FileHandle): OpenFile {
  return {
    read: async (into, position) => (await handle.read(into, 0, into.byteLength, position)).bytesRead,
    write: async (chunks, position) => (await handle.writev(chunks, position)).bytesWritten,
    truncate: (size) => handle.truncate(size),
    sync: () => handle.sync(),
    status: async () => statusFrom(await handle.stat()),
    close: () => handle.close(),
  };
}

async function* entriesOf(path: string): AsyncIterable<FolderEntry> {
  for await (const entry of await opendir(path)) {
    yield { name: entry.name, kind: entry.isFile() ? 'file' : entry.isDirectory() ? 'folder' : 'other' };
  }
}

function kindOf(found: BigIntStats): EntryStatus['kind'] {
  if (found.isSymbolicLink()) return 'link';
  return found.isFile() ? 'file' : found.isDirectory() ? 'folder' : 'other';
}

function statusFrom({ size, mtimeMs }: { size: number; mtimeMs: number }): FileStatus {
  return { size, modifiedAtMs: Math.floor(mtimeMs) };
}

/** Whether the disk failed with one of these errnos. */
export function failedWith(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.some((code) => error.code === code);
}

/** The first `size` bytes of a source, in memory of their own; fewer where it ends before. */
export async function readUpTo(
  size: number,
  source: { read(into: Uint8Array, position: number): Promise<number> },
): Promise<Buffer> {
  const bytes = Buffer.alloc(size);
  let length = 0;
  while (length < size) {
    const read = await source.read(bytes.subarray(length), length);
    if (read === 0) break;
    length += read;
  }
  return bytes.subarray(0, length);
}

/**
 * Every file at or below a folder, as paths that begin with `path`. One folder a level is open at a time, and nothing is
 * gathered: what is removed during the walk may be missing, what is added may be there.
 */
export async function* filesBelow(
  files: FileSystem,
  root: string,
  path: string,
  onFolder: () => void = () => {},
): AsyncIterable<string> {
  for await (const { name, kind } of entriesIn(files, `${root}/${path}`)) {
    if (kind === 'folder') {
      onFolder();
      yield* filesBelow(files, root, `${path}/${name}`, onFolder);
    } else if (kind === 'file') yield `${path}/${name}`;
  }
}

/** A folder that vanished meanwhile holds nothing. */
async function* entriesIn(files: FileSystem, folder: string): AsyncIterable<FolderEntry> {
  try {
    yield* files.entries(folder);
  } catch (error) {
    if (!failedWith(error, 'ENOENT')) throw error;
  }
}
