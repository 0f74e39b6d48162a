import { on } from 'node:events';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { abortableAfter } from '../../../mirror/concurrency/abortable-wait.ts';
import type { BlobStore } from '../../../mirror/ports/blob-store.ts';
import type { Observer } from '../../../mirror/ports/observer.ts';
import type { RecordKey, RecordStore } from '../../../mirror/ports/record-store.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { algorithmOf, type Digest, digestOf } from '../../../oci/digest.ts';
import { digestAt, recordKeyAt } from '../../layout.ts';
import type { FileBlobStore } from '../blob-store.ts';
import type { FileStatus } from '../file-system.ts';
import type { FileRecordStore } from '../record-store.ts';
import type { ScanAnswer, ScanJob, ScannedFiles } from './scan-thread.ts';

export interface StoreScanDeps {
  /** The storage path, absolute. */
  readonly path: string;
  readonly store: Pick<FileBlobStore, 'list' | 'statusOf' | 'readAll'>;
  readonly records: Pick<FileRecordStore, 'list' | 'read' | 'countAnew'>;
  readonly observer: Pick<Observer, 'internalError'>;
}

interface StoredContent extends FileStatus {
  readonly digest: Digest;
}

/** So many answers of the thread wait at most, each of some hundred files. */
const answersAhead = 3;
/** A thread that is stopped ends at once, unless the disk hangs. */
const endsWithinMs = 500;
/** For lists of names; bytes are outside of it. */
const resourceLimits = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 8 };

/**
 * What a rebuild of the index reads of a store on this machine's disk, read ahead by a thread: one for the content, and one for the records.
 * What the thread could not read is read from the stores, which say why. An empty store needs no thread.
 */
export class StoreScan {
  /** Records are read ahead: there is nothing to wait for. */
  readonly readTogether = 1;
  readonly #deps: StoreScanDeps & Waiting;
  #isEmpty = false;
  /** What was read of the records that were listed last. */
  #texts = new Map<RecordKey, string>();
  #manifests = new Map<Digest, Uint8Array>();

  constructor(deps: StoreScanDeps & Waiting) {
    this.#deps = deps;
  }

  readonly store: Pick<BlobStore, 'list' | 'readAll'> = {
    list: (which) => (which ? this.#deps.store.list(which) : this.#content()),
    readAll: async (digest, maxBytes) => {
      const bytes = this.#manifests.get(digest);
      const isWhole = bytes && bytes.byteLength <= maxBytes && digestOf(bytes, algorithmOf(digest)) === digest;
      return isWhole ? bytes : this.#deps.store.readAll(digest, maxBytes);
    },
  };

  readonly records: Pick<RecordStore, 'list' | 'read'> = {
    list: (which) => (which === 'loose' || this.#isEmpty ? this.#deps.records.list(which) : this.#records()),
    read: async (key) => parsed(this.#texts.get(key)) ?? this.#deps.records.read(key),
  };

  /** @throws the disk's error when a folder cannot be listed, or the signal's reason. */
  async *#content(): AsyncGenerator<StoredContent> {
    this.#isEmpty = await isEmpty(this.#deps.store.list());
    if (this.#isEmpty) return;
    for await (const { paths, sizes, modifiedAtMs } of this.#scanned('content')) {
      for (const [place, path] of paths.entries()) {
        const digest = digestAt(path);
        const [size = NaN, atMs = NaN] = [sizes[place], modifiedAtMs[place]];
        if (!digest) continue;
        const status = Number.isNaN(size) ? await this.#statusOf(digest) : { size, modifiedAtMs: atMs };
        if (status) yield { digest, ...status };
      }
    }
  }

  async *#records(): AsyncGenerator<RecordKey> {
    using count = this.#deps.records.countAnew();
    for await (const { paths, sizes, texts, manifests, folders } of this.#scanned('records')) {
      count.foundFolders(folders);
      this.#texts = new Map();
      this.#manifests = new Map();
      for (const [place, path] of paths.entries()) {
        const [key, size = NaN, text, manifest] = [recordKeyAt(path), sizes[place], texts[place], manifests[place]];
        if (!key) continue;
        if (!Number.isNaN(size)) count.found(size);
        if (text !== undefined) this.#texts.set(key, text);
        if (manifest && 'digest' in key) this.#manifests.set(key.digest, manifest);
        yield key;
      }
    }
    count.end();
  }

  async #statusOf(digest: Digest): Promise<FileStatus | undefined> {
    try {
      return await this.#deps.store.statusOf(digest);
    } catch (cause) {
      this.#deps.observer.internalError({ part: 'store', cause });
      return undefined;
    }
  }

  async *#scanned(half: ScanJob['half']): AsyncGenerator<ScannedFiles> {
    const { path: root, signal } = this.#deps;
    signal.throwIfAborted();
    const thread = startThread({ root, half });
    try {
      for (let ahead = 0; ahead < answersAhead; ahead += 1) thread.postMessage('next');
      const answers: AsyncIterable<readonly ScanAnswer[]> = on(thread, 'message', { signal, close: ['exit'] });
      for await (const [answer] of answers) {
        const files = answer && filesIn(answer);
        if (!files) return;
        thread.postMessage('next');
        yield files;
      }
      throw new Error('the thread that reads the store ended');
    } catch (cause) {
      signal.throwIfAborted();
      throw cause;
    } finally {
      const late = () => new Error('the thread that reads the store hangs');
      await abortableAfter(thread.terminate(), signal, { graceMs: endsWithinMs, late }).catch(() => {});
    }
  }
}

async function isEmpty(values: AsyncIterable<unknown>): Promise<boolean> {
  for await (const _ of values) return false;
  return true;
}

/** The file of the thread is beside this one, also when it is compiled. */
function startThread(workerData: ScanJob): Worker {
  const file = new URL(`scan-thread${extname(import.meta.filename)}`, import.meta.url);
  // Nothing of what is loaded before the program is needed there.
  const thread = new Worker(file, { workerData, resourceLimits, execArgv: [], env: {}, name: 'store scan' });
  return thread.on('error', () => {}); // Also of one that nobody listens to any more.
}

/** @returns undefined at the end. @throws the disk's error. */
function filesIn(answer: ScanAnswer): ScannedFiles | undefined {
  if (answer.kind === 'failure') throw Object.assign(new Error(answer.message), { code: answer.code });
  return answer.kind === 'files' ? answer.files : undefined;
}

/** @returns undefined if it is no JSON. */
function parsed(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
