import type { RecordKey } from '../../mirror/ports/record-store.ts';
import type { RepositoryId } from '../../mirror/ports/repository-id.ts';
import type { Digest } from '../../oci/digest.ts';
import {
  blobPath,
  blobsFolder,
  digestAt,
  recordKeyAt,
  recordPath,
  repositoriesFolder,
  tagRecordsPath,
} from '../layout.ts';

/*
 * The store in a bucket. Below the prefix it has the layout of the store on disk (../layout.ts), so that both can be read by the same eyes:
 *
 *     <prefix>/v1/blobs/<algorithm>/<2 hex>/<hex>              verified content, manifests included
 *     <prefix>/v1/used/<algorithm>/<2 hex>/<hex>               empty; written when content was read from the bucket: its time is the last use
 *     <prefix>/v1/repositories/<upstream>/<repository>/…       records: links, tags, visibility
 */

const version = 'v1';
const usedFolder = 'used';

/** Where some content is, and its last uses. Below both, the same content has the same name. */
export interface ContentPrefix {
  readonly blobs: string;
  readonly used: string;
}

/** Keys of objects in a bucket. */
export class BucketLayout {
  /** What all keys begin with: `v1/`, or `<prefix>/v1/`. */
  readonly root: string;

  constructor(prefix: string) {
    this.root = prefix === '' ? `${version}/` : `${prefix}/${version}/`;
  }

  blob(digest: Digest): string {
    return this.root + blobPath(digest);
  }

  /** The object that is as old as the last use of the content. */
  used(digest: Digest): string {
    return this.root + blobPath(digest).replace(blobsFolder, usedFolder);
  }

  /** The prefixes of content and of its last uses: whole, and the parts that its keys are spread over. */
  contentFolders(): readonly { readonly whole: ContentPrefix; readonly parts: readonly ContentPrefix[] }[] {
    const at = (part: string): ContentPrefix => ({
      blobs: `${this.root}${blobsFolder}/${part}/`,
      used: `${this.root}${usedFolder}/${part}/`,
    });
    return (['sha256', 'sha512'] as const).map((algorithm) => ({
      whole: at(algorithm),
      parts: Array.from({ length: 256 }, (_, byte) => at(`${algorithm}/${byte.toString(16).padStart(2, '0')}`)),
    }));
  }

  get records(): string {
    return `${this.root}${repositoriesFolder}/`;
  }

  /** @throws Error when the upstream's name is no host. */
  record(key: RecordKey): string {
    return this.root + recordPath(key);
  }

  /** What the records of the tags of a repository begin with. */
  tags(repositoryId: RepositoryId): string {
    return `${this.root}${tagRecordsPath(repositoryId)}/`;
  }

  /** The digest whose content belongs at a key; undefined for any other key. */
  digestAt(key: string): Digest | undefined {
    return key.startsWith(this.root) ? digestAt(key.slice(this.root.length)) : undefined;
  }

  /** The record that belongs at a key; undefined for any other key. */
  recordAt(key: string): RecordKey | undefined {
    return key.startsWith(this.root) ? recordKeyAt(key.slice(this.root.length)) : undefined;
  }
}
