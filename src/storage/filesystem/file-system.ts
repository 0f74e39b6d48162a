import { type BigIntStats, constants } from 'node:fs';
import {
  access,
  type FileHandle,
  lstat,
  mkdir,
  open,
  opendir,
  readdir,
  rename,
  rmdir,
  stat,
  statfs,
  unlink,
} from 'node:fs/promises';
import pLimit from 'p-limit';
import type { FreeSpace } from '../../mirror/ports/blob-store.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { DiskOperation, DiskOutcome, StoreObserver } from '../../mirror/ports/observer.ts';

/**
 * Everything the stores need from the disk. Each method is one system call, and fails with an Error whose `code` is the name of the errno.
 * Paths are absolute.
 */
export interface FileSystem {
  /** `read`: an existing file or folder. `change`: an existing file. `create`: a new file with mode 0600; EEXIST if it exists. */
  open(path: string, use: FileUse): Promise<OpenFile>;
  /** One level, with mode 0700. */
  mkdir(path: string): Promise<void>;
  /** ENOTEMPTY unless the folder is empty. */
  rmdir(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  stat(path: string): Promise<FileStatus>;
  /** Does not follow a symbolic link at `path`. */
  lstat(path: string): Promise<EntryStatus>;
  /** Whether this process has permission to create files in a folder: EACCES or EROFS if not. A full disk is no error. */
  mayChange(folder: string): Promise<void>;
  /** The entries of a folder, in no order; those of a large one are read a few at a time. */
  entries(path: string): AsyncIterable<FolderEntry>;
  /** What is still free on the disk `path` is on. */
  freeSpace(path: string): Promise<FreeSpace>;
}

export type FileUse = 'read' | 'change' | 'create';

/** An open file. Closing waits for running calls, so that none of them can reach another file's bytes. */
export interface OpenFile {
  /** pread(2). @returns how many bytes were read; 0 at the end. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** pwritev(2). @returns how many bytes were written; may be fewer than given. */
  write(chunks: readonly Uint8Array[], position: number): Promise<number>;
  /** ftruncate(2). */
  truncate(size: number): Promise<void>;
  /** fsync(2), also of a folder. */
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
  /** Device and inode: changes when the path is renamed and created again. */
  readonly identity: string;
}

export interface FolderEntry {
  readonly name: string;
  readonly kind: 'file' | 'folder' | 'other';
}

/** The file system of this machine. */
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
    const { bavail, blocks, bsize, files, ffree } = await statfs(path);
    const space = { bytes: bavail * bsize, sizeBytes: blocks * bsize };
    // btrfs and most network file systems make inodes as they are needed, and say 0.
    return files === 0 ? space : { ...space, inodes: { free: ffree, all: files } };
  },
};

const flagsFor: Readonly<Record<FileUse, number>> = {
  read: constants.O_RDONLY,
  change: constants.O_RDWR,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
};

/** Uses FileHandle, which counts its calls and closes after the last; fs.read on its descriptor is no faster with pieces of 512 KiB. */
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

/** A folder that takes no more itself has a few thousand entries at most, by the size that common file systems tell. */
const smallFolderBytes = 64 * 1024;
const entriesAtOnce = 512;

/** A walk over 100,000 small folders by `opendir` leaves 100 MB of handles, which V8 collects late. */
async function* entriesOf(path: string): AsyncIterable<FolderEntry> {
  const isSmall = (await stat(path)).size <= smallFolderBytes;
  const entries = isSmall
    ? await readdir(path, { withFileTypes: true })
    : await opendir(path, { bufferSize: entriesAtOnce });
  for await (const entry of entries) {
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

export interface ObservedFilesDeps {
  readonly observer: Pick<StoreObserver, 'diskAnswered'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

/** Syncs hang first on a disk that is in trouble, and each holds one of Node's threads: most of the twelve are left for everything else. */
const syncsAtOnce = 4;

/**
 * The same files, with at most so many syncs at once; the observer learns how each call ended and how long it took, except closing, and
 * reading the entries of a folder.
 */
export function observedFiles(files: FileSystem, { observer, clock }: ObservedFilesDeps): FileSystem {
  const syncInTurn = pLimit(syncsAtOnce);
  const timed = async <Result>(operation: DiskOperation, call: () => Promise<Result>): Promise<Result> => {
    const startedAtMs = clock.monotonicMs();
    let outcome: DiskOutcome = 'ok';
    try {
      return await call();
    } catch (error) {
      outcome = diskOutcomeOf(error);
      throw error;
    } finally {
      observer.diskAnswered({ operation, outcome, durationMs: clock.monotonicMs() - startedAtMs });
    }
  };
  const observed = (file: OpenFile): OpenFile => ({
    read: (into, position) => timed('read', () => file.read(into, position)),
    write: (chunks, position) => timed('write', () => file.write(chunks, position)),
    truncate: (size) => timed('write', () => file.truncate(size)),
    sync: () => timed('sync', () => syncInTurn(() => file.sync())),
    status: () => timed('status', () => file.status()),
    close: () => file.close(),
  });
  return {
    open: async (path, use) => observed(await timed('open', () => files.open(path, use))),
    mkdir: (path) => timed('change', () => files.mkdir(path)),
    rmdir: (path) => timed('change', () => files.rmdir(path)),
    rename: (from, to) => timed('change', () => files.rename(from, to)),
    unlink: (path) => timed('change', () => files.unlink(path)),
    stat: (path) => timed('status', () => files.stat(path)),
    lstat: (path) => timed('status', () => files.lstat(path)),
    mayChange: (folder) => timed('status', () => files.mayChange(folder)),
    entries: (path) => files.entries(path),
    freeSpace: (path) => timed('status', () => files.freeSpace(path)),
  };
}

const outcomes: Readonly<Record<string, DiskOutcome>> = {
  ENOENT: 'ok',
  EEXIST: 'ok',
  ENOTEMPTY: 'ok',
  ENAMETOOLONG: 'ok',
  ENOSPC: 'full',
  EDQUOT: 'full',
  EROFS: 'readonly',
  EACCES: 'denied',
  EPERM: 'denied',
  EMFILE: 'descriptors',
  ENFILE: 'descriptors',
  EIO: 'io',
};

/** What an error of a call says about the disk. */
function diskOutcomeOf(error: unknown): DiskOutcome {
  return (error instanceof Error && 'code' in error && outcomes[String(error.code)]) || 'other';
}

/** How many files of one kind there are, and the bytes in them. Changed by every part that adds or removes such files. */
export interface FileCount {
  files: number;
  bytes: number;
}

/** Whether the disk failed with one of these errnos. */
export function failedWith(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.some((code) => error.code === code);
}

/** Copies the first `size` bytes of a source; fewer if it ends earlier. */
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
 * Every file at or below a folder, as paths that begin with `path`. One folder per level is open at a time. Files that are added or removed
 * during the walk may be listed or not.
 * @param onFolder called with each folder below. @returns whether the walk enters it.
 */
export async function* filesBelow(
  files: FileSystem,
  root: string,
  path: string,
  onFolder: (path: string) => boolean = () => true,
): AsyncIterable<string> {
  for await (const { name, kind } of entriesIn(files, `${root}/${path}`)) {
    const below = `${path}/${name}`;
    if (kind === 'file') yield below;
    else if (kind === 'folder' && onFolder(below)) yield* filesBelow(files, root, below, onFolder);
  }
}

/** Likewise, below one folder after the other. */
export async function* filesBelowAll(files: FileSystem, root: string, paths: readonly string[]): AsyncIterable<string> {
  for (const path of paths) yield* filesBelow(files, root, path);
}

/** A folder that was removed meanwhile is empty. */
export async function* entriesIn(files: FileSystem, folder: string): AsyncIterable<FolderEntry> {
  try {
    yield* files.entries(folder);
  } catch (error) {
    if (!failedWith(error, 'ENOENT')) throw error;
  }
}
