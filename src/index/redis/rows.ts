import { repositoryKey } from '../../mirror/ports/repository-id.ts';
import type { RecordKey } from '../../mirror/ports/record-store.ts';
import type { IndexedContent, Link } from '../../mirror/ports/store-index.ts';
import { algorithmOf, type Digest, hexOf, parseDigest } from '../../oci/digest.ts';
import type { ImageFacts } from '../../oci/manifest.ts';
import type { BufferedTag, BufferWriter, Slice } from '../buffer-writer.ts';
import { namesPerChunk } from './write-scripts.ts';

/** A digest as the view has it: `2` or `5` for its algorithm, and its bytes. */
export function digestKey(digest: Digest): Buffer {
  return Buffer.from(`${algorithmOf(digest) === 'sha256' ? '32' : '35'}${hexOf(digest)}`, 'hex');
}

/** @param key as a script returns it, with a character for each byte. @throws OciError DIGEST_INVALID */
export function digestOfKey(key: string): Digest {
  const hex = Buffer.from(key, 'latin1').toString('hex', 1);
  return parseDigest(`${key.startsWith('2') ? 'sha256' : 'sha512'}:${hex}`);
}

/** `kind` of a link as the view has it. */
export function kindKey(kind: Link['kind']): 'm' | 'b' {
  return kind === 'manifest' ? 'm' : 'b';
}

/** Rows that remove what a record says; see the script `index-apply`. */
export function withoutRecord(key: RecordKey, digest: Digest | undefined, onlyUnseen = false): Buffer | undefined {
  const name = repositoryKey(key.repositoryId);
  const guard = byte(onlyUnseen ? 1 : 0);
  switch (key.kind) {
    case 'manifest':
    case 'blob':
      return Buffer.concat([Buffer.from(`K${kindKey(key.kind)}`), guard, digestKey(key.digest), Buffer.from(name)]);
    case 'tag':
      return Buffer.concat([
        Buffer.from('E'),
        guard,
        Buffer.from(`${name}\0${key.tag}\0`),
        ...(digest === undefined ? [] : [digestKey(digest)]),
      ]);
    case 'referrers':
    case 'tag-list':
    case 'visibility':
      return undefined;
  }
}

export function withoutContent(digest: Digest, onlyUnseen = false): Buffer {
  return Buffer.concat([Buffer.from('D'), byte(onlyUnseen ? 1 : 0), digestKey(digest)]);
}

function withoutNames(parent: Digest): Buffer {
  return Buffer.concat([Buffer.from('X'), digestKey(parent)]);
}

export interface RowBatchDeps {
  /** Whether `storage.keep` names a repository, given as `<upstream>/<repository>`. */
  readonly isKept: (repository: string) => boolean;
}

/** Collects the rows of one step of writing. */
export class RowBatch implements BufferWriter {
  readonly rows: Buffer[] = [];
  /** The uses among them: whether their content is known is in the reply. */
  readonly uses = new Map<Digest, number>();
  readonly #isKept: (repository: string) => boolean;

  constructor({ isKept }: RowBatchDeps) {
    this.#isKept = isKept;
  }

  content({ digest, size, isManifest, usedAtMs, image }: IndexedContent): void {
    this.#add('C', byte(isManifest ? 1 : 0), whole(size), whole(usedAtMs), digestKey(digest));
    if (!image) return;
    const texts = Buffer.from(`${image.mediaType ?? ''}\0${offersOf(image)}`);
    this.#add('I', whole(usedAtMs), whole(image.bytes), digestKey(digest), texts);
  }

  use(digest: Digest, atMs: number): boolean {
    this.uses.set(digest, atMs);
    this.#add('U', whole(atMs), digestKey(digest));
    return true;
  }

  repositoryUse(repository: string, atMs: number): void {
    this.#add('R', whole(atMs), Buffer.from(repository));
  }

  link({ repositoryId, kind, digest, mediaType, size, usedAtMs = 0 }: Link): void {
    const name = repositoryKey(repositoryId);
    const kept = byte(this.#isKept(name) ? 1 : 0);
    const numbers = Buffer.concat([whole(size === undefined ? 0 : size + 1), whole(usedAtMs)]);
    const texts = Buffer.from(`${name}\0${mediaType ?? ''}`);
    this.#add(`L${kindKey(kind)}`, kept, numbers, digestKey(digest), texts);
  }

  tag({ repositoryId, tag, digest, source }: BufferedTag): void {
    const name = repositoryKey(repositoryId);
    if (digest === undefined) this.#add('E', byte(0), Buffer.from(`${name}\0${tag}\0`));
    else this.#add('T', byte(source === 'store' ? 1 : 0), digestKey(digest), Buffer.from(`${name}\0${tag}`));
  }

  /** The reply says whether some of them are left. @returns how much work it is, but fewer than `limit`. */
  unname(parent: Digest, limit: number): number {
    this.rows.push(withoutNames(parent));
    return Math.min(limit - 1, namesPerChunk);
  }

  /** Whole chunks: how many names are in one does not depend on how they were written. */
  names(parent: Digest, children: readonly Digest[], { from, slice }: { from: number; slice: Slice }): number {
    let written = 0;
    for (let at = from; at < children.length && written < slice.rowsLeft; at += namesPerChunk) {
      const chunk = children.slice(at, at + namesPerChunk);
      this.#add('N', number(at / namesPerChunk, 2), digestKey(parent), ...chunk.map(digestKey));
      written += chunk.length;
    }
    return written;
  }

  #add(row: string, ...rest: readonly Buffer[]): void {
    this.rows.push(Buffer.concat([Buffer.from(row), ...rest]));
  }
}

/** Such as `-,0123456789ab=linux/amd64,`; empty unless it is an image index. */
function offersOf({ images }: ImageFacts): string {
  if (images.length === 0) return '';
  const known = images.filter(({ platform }) => platform !== undefined);
  return ['-', ...known.map(({ digest, platform }) => `${hexOf(digest).slice(0, 12)}=${platform}`), ''].join(',');
}

function byte(value: number): Buffer {
  return Buffer.from([value]);
}

function number(value: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntBE(value, 0, bytes);
  return buffer;
}

const most = 2 ** 48 - 1;

/** Sizes and times are whole numbers of six bytes. */
function whole(value: number): Buffer {
  const floor = Math.floor(value);
  return number(floor >= 0 && floor <= most ? floor : 0, 6);
}
