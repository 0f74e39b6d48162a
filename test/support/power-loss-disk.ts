import { basename, dirname } from 'node:path';
import type { FreeSpace } from '../../src/mirror/ports/blob-store.ts';
import type { FileSystem, FileUse, FolderEntry, OpenFile } from '../../src/storage/filesystem/file-system.ts';
import { randomBytes } from './images.ts';

/** A number from 0 to 1, another one at every call. */
export type Dice = () => number;

/** The same numbers in every run. */
export function dice(seed: string): Dice {
  const bytes = randomBytes(16 * 1024, seed);
  let next = 0;
  return () => bytes.readUInt32BE((next++ * 4) % bytes.length) / 2 ** 32;
}

/**
 * A disk in memory that loses what was not synced when the power fails, as a file system may: of data, a part may have
 * reached it; of each name that was given, taken or moved, either this or what was before. Only what fsync promised is kept.
 */
export class PowerLossDisk implements FileSystem {
  /** Called before each operation; what it throws fails the operation. */
  before: (operation: string, path: string) => void = () => {};
  readonly #root: Folder;

  constructor(root: Folder = newFolder()) {
    this.#root = root;
  }

  /** The content after a power failure now. The disk itself stays as it is. */
  afterPowerLoss(fate: Dice): PowerLossDisk {
    const survivors = new Map<Node, Node>();
    return new PowerLossDisk(survivingFolder(this.#root, fate, survivors));
  }

  /**
   * Lets so many more operations pass; at the next one the power fails, and so do all that follow.
   * @returns what is left then; undefined as long as it runs.
   */
  failPowerAfter(operations: number, fate: Dice): () => PowerLossDisk | undefined {
    let passed = 0;
    let left: PowerLossDisk | undefined;
    this.before = () => {
      if (passed++ < operations) return;
      left ??= this.afterPowerLoss(fate);
      throw failure('EIO', 'the power is off');
    };
    return () => left;
  }

  /** Writes a file, with its folders; {@link allSynced} makes it safe. */
  put(path: string, bytes: string | Uint8Array): void {
    let folder = this.#root;
    for (const name of partsOf(dirname(path))) {
      const next = folder.names.get(name) ?? newFolder();
      folder.names.set(name, next);
      if (next.kind === 'file') throw failure('ENOTDIR', path);
      folder = next;
    }
    folder.names.set(basename(path), { kind: 'file', bytes: Buffer.from(bytes), synced: Buffer.alloc(0) });
  }

  /** From here on a power failure loses nothing that is there now. */
  allSynced(node: Node = this.#root): void {
    if (node.kind === 'file') {
      node.synced = node.bytes;
      return;
    }
    node.synced = new Map(node.names);
    for (const child of node.names.values()) this.allSynced(child);
  }

  async open(path: string, use: FileUse): Promise<OpenFile> {
    this.before('open', path);
    const node = use === 'create' ? this.#create(path) : this.#find(path);
    return node.kind === 'file' ? this.#openFile(path, node) : this.#openFolder(path, node);
  }

  async mkdir(path: string): Promise<void> {
    this.before('mkdir', path);
    const parent = this.#parentOf(path);
    if (parent.names.has(basename(path))) throw failure('EEXIST', path);
    parent.names.set(basename(path), newFolder());
  }

  async rmdir(path: string): Promise<void> {
    this.before('rmdir', path);
    const folder = this.#find(path);
    if (folder.kind === 'folder' && folder.names.size > 0) throw failure('ENOTEMPTY', path);
    this.#parentOf(path).names.delete(basename(path));
  }

  async rename(from: string, to: string): Promise<void> {
    this.before('rename', to);
    const node = this.#find(from);
    this.#parentOf(to).names.set(basename(to), node);
    this.#parentOf(from).names.delete(basename(from));
  }

  async unlink(path: string): Promise<void> {
    this.before('unlink', path);
    this.#find(path);
    this.#parentOf(path).names.delete(basename(path));
  }

  async lstat(path: string): ReturnType<FileSystem['lstat']> {
    this.before('lstat', path);
    return { kind: this.#find(path).kind, identity: path };
  }

  async stat(path: string): ReturnType<FileSystem['stat']> {
    this.before('stat', path);
    return statusOf(this.#find(path));
  }

  async mayChange(folder: string): Promise<void> {
    this.before('mayChange', folder);
    this.#find(folder);
  }

  async *entries(path: string): AsyncIterable<FolderEntry> {
    this.before('entries', path);
    const folder = this.#find(path);
    if (folder.kind === 'file') throw failure('ENOTDIR', path);
    for (const [name, { kind }] of new Map(folder.names)) yield { name, kind };
  }

  async freeSpace(path: string): Promise<FreeSpace> {
    this.before('freeSpace', path);
    return { bytes: 1024 ** 4 };
  }

  #create(path: string): StoredFile {
    const { names } = this.#parentOf(path);
    if (names.has(basename(path))) throw failure('EEXIST', path);
    const file: StoredFile = { kind: 'file', bytes: Buffer.alloc(0), synced: Buffer.alloc(0) };
    names.set(basename(path), file);
    return file;
  }

  /** Folders above the storage path are there and safe, as those of a machine are. */
  #find(path: string): Node {
    let node: Node = this.#root;
    for (const name of partsOf(path)) {
      const next: Node | undefined = node.kind === 'folder' ? node.names.get(name) : undefined;
      if (!next) throw failure('ENOENT', path);
      node = next;
    }
    return node;
  }

  #parentOf(path: string): Folder {
    const parent = this.#find(dirname(path));
    if (parent.kind === 'file') throw failure('ENOTDIR', path);
    return parent;
  }

  #openFile(path: string, file: StoredFile): OpenFile {
    return {
      read: async (into, position) => {
        this.before('read', path);
        return file.bytes.copy(into, 0, position);
      },
      write: async (chunks, position) => {
        this.before('write', path);
        const written = Buffer.concat(chunks);
        const grown = Buffer.alloc(Math.max(file.bytes.length, position + written.length));
        file.bytes.copy(grown);
        written.copy(grown, position);
        file.bytes = grown;
        return written.length;
      },
      truncate: async (size) => {
        this.before('truncate', path);
        file.bytes = Buffer.concat([file.bytes.subarray(0, size), Buffer.alloc(Math.max(0, size - file.bytes.length))]);
      },
      sync: async () => {
        this.before('sync', path);
        file.synced = file.bytes;
      },
      status: async () => {
        this.before('fstat', path);
        return statusOf(file);
      },
      close: async () => {},
    };
  }

  #openFolder(path: string, folder: Folder): OpenFile {
    const refuse = async (): Promise<never> => {
      throw failure('EISDIR', path);
    };
    return {
      read: refuse,
      write: refuse,
      truncate: refuse,
      sync: async () => {
        this.before('sync', path);
        folder.synced = new Map(folder.names);
      },
      status: async () => statusOf(folder),
      close: async () => {},
    };
  }
}

interface StoredFile {
  readonly kind: 'file';
  bytes: Buffer;
  /** As the last fsync left them. */
  synced: Buffer;
}

interface Folder {
  readonly kind: 'folder';
  readonly names: Map<string, Node>;
  /** As the last fsync left them. */
  synced: ReadonlyMap<string, Node>;
}

type Node = StoredFile | Folder;

function newFolder(): Folder {
  return { kind: 'folder', names: new Map(), synced: new Map() };
}

function survivingNode(node: Node, fate: Dice, survivors: Map<Node, Node>): Node {
  const known = survivors.get(node);
  if (known) return known;
  if (node.kind === 'folder') return survivingFolder(node, fate, survivors);
  const bytes = survivingBytes(node, fate);
  const survivor: StoredFile = { kind: 'file', bytes, synced: bytes };
  survivors.set(node, survivor);
  return survivor;
}

/** Each name on its own is as it was synced, or as it is. */
function survivingFolder(folder: Folder, fate: Dice, survivors: Map<Node, Node>): Folder {
  const survivor = newFolder();
  survivors.set(folder, survivor);
  for (const name of new Set([...folder.synced.keys(), ...folder.names.keys()])) {
    const node = fate() < 0.5 ? folder.names.get(name) : folder.synced.get(name);
    if (node) survivor.names.set(name, survivingNode(node, fate, survivors));
  }
  survivor.synced = new Map(survivor.names);
  return survivor;
}

/** What was synced; of what was changed since, nothing, a part, or as much room full of zeros. */
function survivingBytes({ bytes, synced }: StoredFile, fate: Dice): Buffer {
  const chance = fate();
  if (bytes === synced || chance < 0.3) return synced;
  const safe = Math.min(synced.length, bytes.length);
  const arrived = bytes.subarray(0, safe + Math.floor(fate() * (bytes.length - safe + 1)));
  return chance < 0.7 ? arrived : Buffer.concat([arrived], bytes.length);
}

function statusOf(node: Node): { readonly size: number; readonly modifiedAtMs: number } {
  return { size: node.kind === 'file' ? node.bytes.length : 0, modifiedAtMs: 0 };
}

function partsOf(path: string): readonly string[] {
  return path.split('/').filter((part) => part !== '');
}

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: '${path}'`), { code });
}
