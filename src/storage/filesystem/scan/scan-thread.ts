import { type Dirent, opendirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { maxManifestBytes } from '../../../oci/manifest.ts';
import { blobPath, blobsFolder, recordKeyAt, repositoriesFolder } from '../../layout.ts';

// A thread that lists one half of a store, and reads what a rebuild of the index needs of its files. Its calls wait for the disk, and cost a
// tenth of those that do not. It decides nothing: what it cannot read, the thread that asked tries itself. See store-scan.ts.

export interface ScanJob {
  /** The storage path, absolute. */
  readonly root: string;
  /** Of content it tells sizes and times; of records the texts, and the manifests that they are about. */
  readonly half: 'content' | 'records';
}

/** Some files, in no order. What belongs to one file has the same place in each list. */
export interface ScannedFiles {
  /** Relative to the storage path. */
  readonly paths: readonly string[];
  /** Bytes; NaN where it was not asked for, or could not be read. */
  readonly sizes: Float64Array<ArrayBuffer>;
  /** When the files were written last, milliseconds; NaN likewise. */
  readonly modifiedAtMs: Float64Array<ArrayBuffer>;
  /** Undefined likewise. */
  readonly texts: readonly (string | undefined)[];
  /** Bytes of the manifest that a record is about, not verified; undefined likewise. */
  readonly manifests: readonly (Uint8Array<ArrayBuffer> | undefined)[];
  /** How many folders were found since the files before. */
  readonly folders: number;
}

/** The answer to each message. `code`: the name of the errno. */
export type ScanAnswer =
  | { readonly kind: 'files'; readonly files: ScannedFiles }
  | { readonly kind: 'end' }
  | { readonly kind: 'failure'; readonly message: string; readonly code: unknown };

interface ScannedFile {
  readonly path: string;
  readonly size?: number;
  readonly modifiedAtMs?: number;
  readonly text?: string | undefined;
  readonly manifest?: Uint8Array<ArrayBuffer> | undefined;
}

const linksOfBlobs = '/_blobs/';
/** Bounds of what is sent at once; the last file may be a manifest. */
const filesAtOnce = 500;
const bytesAtOnce = 512 * 1024;
/** A record has some hundred bytes. */
const maxRecordBytes = 64 * 1024;
/** As in `nodeFiles`: a larger folder is not read at once. */
const smallFolderBytes = 64 * 1024;
const entriesAtOnce = 512;

/** A half of a store, by and by. @throws the disk's error when a folder cannot be listed. */
function* scan({ root, half }: ScanJob): Generator<ScannedFiles, undefined> {
  let [files, bytes, folders]: [ScannedFile[], number, number] = [[], 0, 0];
  const taken = (): ScannedFiles => {
    const found = listsOf(files, folders);
    [files, bytes, folders] = [[], 0, 0];
    return found;
  };
  const look = half === 'content' ? statusOf : recordAt;
  function* walk(folder: string): Generator<ScannedFiles, undefined> {
    for (const entry of entriesIn(`${root}/${folder}`)) {
      const path = `${folder}/${entry.name}`;
      if (entry.isFile()) {
        const file = look(root, path);
        files.push(file);
        bytes += (file.text?.length ?? 0) + (file.manifest?.byteLength ?? 0);
        if (files.length >= filesAtOnce || bytes >= bytesAtOnce) yield taken();
      } else if (entry.isDirectory()) {
        folders += 1;
        yield* walk(path);
      }
    }
  }
  yield* walk(half === 'content' ? blobsFolder : repositoriesFolder);
  yield taken();
}

/** A folder that was removed meanwhile is empty. */
function* entriesIn(folder: string): Generator<Dirent> {
  try {
    if (statSync(folder).size <= smallFolderBytes) return yield* readdirSync(folder, { withFileTypes: true });
    using entries = opendirSync(folder, { bufferSize: entriesAtOnce });
    for (let entry = entries.readSync(); entry; entry = entries.readSync()) yield entry;
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
}

function statusOf(root: string, path: string): ScannedFile {
  try {
    const { size, mtimeMs } = statSync(`${root}/${path}`);
    return { path, size, modifiedAtMs: Math.floor(mtimeMs) };
  } catch {
    return { path };
  }
}

/** Of the link of a blob, the name says all that is needed. */
function recordAt(root: string, path: string): ScannedFile {
  if (path.includes(linksOfBlobs)) return { path };
  const key = recordKeyAt(path);
  if (key?.kind !== 'tag' && key?.kind !== 'manifest') return key ? statusOf(root, path) : { path };
  const bytes = readUpTo(maxRecordBytes, `${root}/${path}`);
  const text = bytes && Buffer.from(bytes.buffer).toString('utf8');
  if (key.kind === 'tag') return { path, text };
  return { path, text, manifest: readUpTo(maxManifestBytes, `${root}/${blobPath(key.digest)}`) };
}

/** @returns undefined also for a larger file. */
function readUpTo(maxBytes: number, path: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return statSync(path).size <= maxBytes ? new Uint8Array(readFileSync(path)) : undefined; // Sent without Buffer's pool.
  } catch {
    return undefined;
  }
}

function listsOf(files: readonly ScannedFile[], folders: number): ScannedFiles {
  return {
    paths: files.map(({ path }) => path),
    sizes: Float64Array.from(files, ({ size = NaN }) => size),
    modifiedAtMs: Float64Array.from(files, ({ modifiedAtMs = NaN }) => modifiedAtMs),
    texts: files.map(({ text }) => text),
    manifests: files.map(({ manifest }) => manifest),
    folders,
  };
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

/** @param send takes one answer for each call of the function that is returned. */
function answering(job: ScanJob, send: (answer: ScanAnswer, moved: readonly ArrayBuffer[]) => void): () => void {
  const found = scan(job);
  return () => {
    try {
      const { value: files } = found.next();
      if (!files) return send({ kind: 'end' }, []);
      const { sizes, modifiedAtMs, manifests } = files;
      const moved = [sizes, modifiedAtMs, ...manifests].flatMap((bytes) => bytes?.buffer ?? []);
      send({ kind: 'files', files }, moved);
    } catch (error) {
      send({ kind: 'failure', message: String(error), code: codeOf(error) }, []);
    }
  };
}

function isJob(value: unknown): value is ScanJob {
  if (typeof value !== 'object' || value === null || !('root' in value) || !('half' in value)) return false;
  return typeof value.root === 'string' && (value.half === 'content' || value.half === 'records');
}

/** @throws Error for what store-scan.ts does not send. */
function jobIn(value: unknown): ScanJob {
  if (!isJob(value)) throw new Error('this thread was started without a store to read');
  return value;
}

const answer = answering(jobIn(workerData), (message, moved) => parentPort?.postMessage(message, [...moved]));
parentPort?.on('message', answer);
