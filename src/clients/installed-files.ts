import { createHash, randomBytes } from 'node:crypto';
import { chmod, link, lstat, mkdir, open, readdir, readFile, realpath, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';

/** What is where a file belongs. */
export type FoundFile =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'file'; readonly text: string; readonly sha256: string }
  /** A symbolic link, a folder, or a file that is too long. */
  | { readonly kind: 'other' };

const backupEnding = '.before-layerwell';
const changedEnding = '.changed-since-layerwell';
const unfinishedEnding = '.layerwell-unfinished';
/** Longer files are not what a client reads. */
const maxBytes = 1024 * 1024;
/** Whatever the umask: clients run as other users too. */
const [readable, enterable] = [0o644, 0o755];

export function backupOf(path: string): string {
  return path + backupEnding;
}

export function changedCopyOf(path: string): string {
  return path + changedEnding;
}

export function sha256Of(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** The files below a root, such as that of an image. Each is replaced whole or not at all, and synced. */
export class InstalledFiles {
  readonly #root: string;

  /** @param root `/` on the machine itself. */
  constructor(root: string) {
    this.#root = root;
  }

  /** @throws if the folder of the path leaves the root by a symbolic link. */
  async find(path: string): Promise<FoundFile> {
    await this.#stayBelowRoot(dirname(path));
    const stats = await lstat(this.#at(path)).catch(nothingIfMissing);
    if (stats === undefined) return { kind: 'nothing' };
    if (!stats.isFile() || stats.size > maxBytes) return { kind: 'other' };
    // Bytes that are no UTF-8 must count for the hash.
    const bytes = await readFile(this.#at(path));
    return { kind: 'file', text: bytes.toString('utf8'), sha256: createHash('sha256').update(bytes).digest('hex') };
  }

  /** The names in a folder; none if there is no such folder. @throws if it leaves the root by a symbolic link. */
  async namesIn(folder: string): Promise<readonly string[]> {
    await this.#stayBelowRoot(folder);
    return (await readdir(this.#at(folder)).catch(nothingIfMissing)) ?? [];
  }

  /** Makes a folder and those above it. @returns those that were made, the outermost first. */
  async makeFolder(path: string): Promise<readonly string[]> {
    await this.#stayBelowRoot(path);
    const missing = await this.missingFolders(path);
    await mkdir(this.#at(path), { recursive: true });
    for (const one of missing) await chmod(this.#at(one), enterable);
    return missing;
  }

  /** Which of a folder and those above it do not exist, the outermost first. */
  async missingFolders(path: string): Promise<readonly string[]> {
    if (path === dirname(path) || (await lstat(this.#at(path)).catch(nothingIfMissing)) !== undefined) return [];
    return [...(await this.missingFolders(dirname(path))), path];
  }

  /** Replaces a file; the owner and mode of one that is there stay. */
  async replace(path: string, text: string): Promise<void> {
    await this.#removeUnfinished(path);
    const written = `${this.#at(path)}.${randomBytes(4).toString('hex')}${unfinishedEnding}`;
    const former = await lstat(this.#at(path)).catch(nothingIfMissing);
    try {
      const mode = former ? former.mode & 0o7777 : readable;
      const file = await open(written, 'wx', mode);
      try {
        if (former) await file.chown(former.uid, former.gid);
        await file.chmod(mode);
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(written, this.#at(path));
    } catch (cause) {
      await rm(written, { force: true }).catch(() => {}); // The first failure is reported.
      throw cause;
    }
    await this.#sync(dirname(path));
  }

  /** Keeps a file beside itself: the same file under a second name, so that it comes back as it was. Does nothing if it is kept already. */
  async keep(path: string): Promise<void> {
    await link(this.#at(path), this.#at(backupOf(path))).catch((cause: unknown) => {
      if (codeOf(cause) !== 'EEXIST') throw cause;
    });
    await this.#sync(dirname(path));
  }

  /** @throws if there is a file of the new name. */
  async move(path: string, to: string, { replaces }: { readonly replaces: boolean }): Promise<void> {
    if (!replaces && (await this.find(to)).kind !== 'nothing') throw new Error(`${to} exists: move it away first`);
    await rename(this.#at(path), this.#at(to));
    await this.#sync(dirname(path));
  }

  async remove(path: string): Promise<void> {
    await this.#removeUnfinished(path);
    await rm(this.#at(path), { force: true });
  }

  async removeFolderIfEmpty(path: string): Promise<void> {
    await rmdir(this.#at(path)).catch((cause: unknown) => {
      if (!['ENOTEMPTY', 'EEXIST', 'ENOENT', 'ENOTDIR'].includes(codeOf(cause))) throw cause;
    });
  }

  /** What a write that was killed left. */
  async #removeUnfinished(path: string): Promise<void> {
    const names = (await readdir(this.#at(dirname(path))).catch(nothingIfMissing)) ?? [];
    const left = names.filter((name) => name.startsWith(`${basename(path)}.`) && name.endsWith(unfinishedEnding));
    for (const name of left) await rm(join(this.#at(dirname(path)), name), { force: true });
  }

  async #stayBelowRoot(folder: string): Promise<void> {
    if (this.#root === '/') return;
    const [root, existing] = [await realpath(this.#root), await this.#existing(folder)];
    if (existing !== root && !existing.startsWith(root + sep))
      throw new Error(`${folder} leads out of ${this.#root} by a symbolic link`);
  }

  /** Where the innermost folder that exists really is. */
  async #existing(folder: string): Promise<string> {
    const found = await realpath(this.#at(folder)).catch(nothingIfMissing);
    return found ?? (folder === dirname(folder) ? this.#root : this.#existing(dirname(folder)));
  }

  async #sync(folder: string): Promise<void> {
    const file = await open(this.#at(folder), 'r');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }

  #at(path: string): string {
    return join(this.#root, path);
  }
}

export function codeOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : '';
}

function nothingIfMissing(cause: unknown): undefined {
  if (codeOf(cause) === 'ENOENT' || codeOf(cause) === 'ENOTDIR') return undefined;
  throw cause;
}
