import { randomBytes } from 'node:crypto';
import { type FileHandle, link, lstat, mkdir, open, readdir, readFile, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Found } from './decisions.ts';

const backupEnding = '.before-layerwell';
const unfinishedEnding = '.layerwell-unfinished';
/** Each write has a name of its own: two processes may write the same file. */
const unfinished = /(?:\.[0-9a-f]{8})?\.layerwell-unfinished$/;
/** By then a write has ended, or its process was killed. */
const writesEndWithinMs = 60_000;
const removedMark = '.layerwell-removed';
/** Longer files are not what a container runtime reads. */
const maxBytes = 1024 * 1024;

/**
 * The folder of a node where its container runtime reads files: the only one that is written to. Each file is replaced whole, or not at all,
 * also if the machine stops in between.
 */
export class NodeFolder {
  readonly #root: string;
  readonly #folder: string;

  /** @param options.root where the file system of the node is; `/` on the node itself. */
  constructor({ root, folder }: { readonly root: string; readonly folder: string }) {
    this.#root = root;
    this.#folder = folder;
  }

  /** @returns `other` as well in the folder of a registry that is a symbolic link or a file. */
  async find(path: string): Promise<Found> {
    try {
      const parent = dirname(path);
      if (parent !== this.#folder && !(await lstat(this.#at(parent))).isDirectory()) return { kind: 'other' };
      const stats = await lstat(this.#at(path));
      if (!stats.isFile() || stats.size > maxBytes) return { kind: 'other' };
      return { kind: 'text', text: await readFile(this.#at(path), 'utf8') };
    } catch (cause) {
      if (isMissing(cause)) return { kind: 'nothing' };
      throw cause;
    }
  }

  async hasBackup(path: string): Promise<boolean> {
    return (await this.find(path + backupEnding)).kind === 'text';
  }

  /** The paths of files with one of these names, in the folder and in those in it; also where only a backup is left. In order. */
  async named(names: ReadonlySet<string>): Promise<readonly string[]> {
    const inside = await this.#list(this.#folder);
    const folders = inside.filter((entry) => entry.isFolder).map(({ path }) => path);
    const below = await Promise.all(folders.map((path) => this.#list(path)));
    const paths = [...inside, ...below.flat()].map(({ path }) => withoutEnding(path));
    return [...new Set(paths)].filter((path) => names.has(basename(path))).toSorted();
  }

  /** The names of the files in one of its folders; none if there is no such folder. */
  async namesIn(folder: string): Promise<readonly string[]> {
    const files = (await this.#list(folder)).filter(({ isFolder }) => !isFolder);
    return files.map(({ path }) => basename(path));
  }

  /** @throws if the text is longer than what is read. */
  async replace(path: string, text: string): Promise<void> {
    if (Buffer.byteLength(text) > maxBytes) throw new Error(`longer than ${maxBytes} bytes`);
    const folder = dirname(this.#at(path));
    await mkdir(folder, { recursive: true });
    await this.#removeUnfinished(path, { olderThanMs: writesEndWithinMs });
    const written = unfinishedOf(this.#at(path));
    try {
      await writeThrough(written, text);
      await rename(written, this.#at(path));
    } catch (cause) {
      await rm(written, { force: true }).catch(() => {}); // What failed first is told.
      await this.#removeIfEmpty(path).catch(() => {});
      throw cause;
    }
    await syncFolder(folder);
  }

  /** Keeps the file as it is now, by a second name: with its mode and owner, since it may have credentials. A former backup is replaced. */
  async backUp(path: string): Promise<void> {
    const linked = unfinishedOf(this.#at(path + backupEnding));
    await link(this.#at(path), linked);
    await rename(linked, this.#at(path + backupEnding));
    await rm(linked, { force: true }); // A rename to another name of the same file does nothing.
    await syncFolder(dirname(this.#at(path)));
  }

  async restore(path: string): Promise<void> {
    await rename(this.#at(path + backupEnding), this.#at(path));
    await syncFolder(dirname(this.#at(path)));
  }

  async remove(path: string): Promise<void> {
    await rm(this.#at(path), { force: true });
  }

  /** Removes what an interrupted write left, and the folder of a registry if nothing is in it: an empty one would hide `_default`. */
  async tidy(path: string): Promise<void> {
    for (const one of [path, path + backupEnding]) await this.#removeUnfinished(one, { olderThanMs: 0 });
    await this.#removeIfEmpty(path);
  }

  async #removeIfEmpty(path: string): Promise<void> {
    if (dirname(path) !== this.#folder) await rmdir(dirname(this.#at(path))).catch(ignoreIfInUse);
  }

  get mark(): string {
    return join(this.#folder, removedMark);
  }

  /** Whoever watches the folder must not repair what is being removed. */
  async markRemoved(): Promise<void> {
    if ((await this.#list(this.#folder)).length > 0) await this.replace(this.mark, '');
  }

  async isMarkedRemoved(): Promise<boolean> {
    return (await this.find(this.mark)).kind === 'text';
  }

  async unmarkRemoved(): Promise<void> {
    await this.#removeUnfinished(this.mark, { olderThanMs: 0 });
    await this.remove(this.mark);
  }

  /** What interrupted writes of a file left. */
  async #removeUnfinished(path: string, { olderThanMs }: { readonly olderThanMs: number }): Promise<void> {
    const beside = await this.#list(dirname(path));
    const left = beside.filter((one) => unfinished.test(one.path) && one.path.replace(unfinished, '') === path);
    for (const one of left) {
      const modifiedMs = await lstat(this.#at(one.path)).then(
        ({ mtimeMs }) => mtimeMs,
        () => Infinity,
      );
      if (Date.now() - modifiedMs >= olderThanMs) await this.remove(one.path);
    }
  }

  async #list(folder: string): Promise<readonly { readonly path: string; readonly isFolder: boolean }[]> {
    try {
      const entries = await readdir(this.#at(folder), { withFileTypes: true });
      return entries.map((entry) => ({ path: join(folder, entry.name), isFolder: entry.isDirectory() }));
    } catch (cause) {
      if (isMissing(cause)) return [];
      throw cause;
    }
  }

  #at(path: string): string {
    return join(this.#root, path);
  }
}

function unfinishedOf(path: string): string {
  return `${path}.${randomBytes(4).toString('hex')}${unfinishedEnding}`;
}

function withoutEnding(path: string): string {
  const finished = path.replace(unfinished, '');
  return finished.endsWith(backupEnding) ? finished.slice(0, -backupEnding.length) : finished;
}

/** @throws if the file exists: nothing else writes it. */
async function writeThrough(path: string, text: string): Promise<void> {
  await using(await open(path, 'wx', 0o644), async (file) => {
    await file.writeFile(text);
    await file.sync();
  });
}

async function syncFolder(folder: string): Promise<void> {
  await using(await open(folder, 'r'), (file) => file.sync());
}

async function using(file: FileHandle, work: (file: FileHandle) => Promise<void>): Promise<void> {
  try {
    await work(file);
  } finally {
    await file.close();
  }
}

function isMissing(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ENOTDIR');
}

function ignoreIfInUse(cause: unknown): void {
  const isInUse =
    cause instanceof Error && 'code' in cause && ['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(String(cause.code));
  if (!isInUse) throw cause;
}
