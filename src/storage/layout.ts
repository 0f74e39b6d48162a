import type { RecordKey } from '../mirror/ports/record-store.ts';
import type { RepositoryId } from '../mirror/ports/repository-id.ts';
import { algorithmOf, type Digest, hexOf, isDigest } from '../oci/digest.ts';
import { isRepository, isTag } from '../oci/reference.ts';

/*
 * The store on disk.
 *
 *     <storage.path>
 *     ├── blobs/<algorithm>/<2 hex>/<hex>                  verified content, manifests included; the name is the proof
 *     ├── repositories/<upstream>/<repository>/
 *     │   ├── _tags/<tag>.json
 *     │   ├── _manifests/<algorithm>/<hex>.json
 *     │   ├── _blobs/<algorithm>/<hex>.json
 *     │   ├── _referrers/<algorithm>/<hex>.json
 *     │   ├── _list.json
 *     │   └── _visibility.json
 *     ├── incoming/<id>                                    being written; swept at start, unless it is a blob with a checkpoint:
 *     │   incoming/<id>.json                               the checkpoint: which blob, from which upstream, and how much is on the disk
 *     ├── store-id                                         the id of the store, where a view of it lies elsewhere
 *     ├── lock.sqlite, blobs/lock.sqlite                   held by the process that uses the store
 *     ├── index.sqlite, index.sqlite.reserve              the index, unless it lies elsewhere; room for removals on a full disk
 *     ├── minutes.json                                     the statistics by minute
 *     ├── events/<number>.log                             what webhooks have not taken yet, a line for each event
 *     │   events/positions.json                            how far each webhook has got
 *     ├── scrub.json                                       how far the scrubber is, and when it last ended a round
 *     ├── pins.json                                        what operators have pinned; pins.damaged.json: what could not be read
 *     ├── changes/<previous epoch>-<epoch>                 what is about to change, for the index: a path on each line
 *     ├── uploads.log                                      what is not uploaded to the shared bucket yet
 *     └── set-aside/<ms>-<algorithm>-<hex>                 quarantine: was in blobs/ with the wrong size or bytes; a few are kept
 *
 * No component of a repository begins with an underscore, so the names of records cannot clash with those of repositories.
 * All paths here are relative to the storage path, with `/` between their parts.
 */

export const blobsFolder = 'blobs';
export const repositoriesFolder = 'repositories';
export const incomingFolder = 'incoming';
export const quarantineFolder = 'set-aside';
export const eventsFolder = 'events';
export const changesFolder = 'changes';
export const uploadsFile = 'uploads.log';
export const storeIdFile = 'store-id';
export const minutesFile = 'minutes.json';
export const scrubFile = 'scrub.json';
export const pinsFile = 'pins.json';
export const damagedPinsFile = 'pins.damaged.json';

const tagsFolder = '_tags';
const folderByKind = { manifest: '_manifests', blob: '_blobs', referrers: '_referrers' } as const;
const fileByKind = { 'tag-list': '_list.json', visibility: '_visibility.json' } as const;

/** A host, an IPv4 address or a bracketed IPv6 one, each with or without a port. */
const upstreamGrammar = /^(?:[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$/;
/** The longest name that common file systems accept. */
const maxNameLength = 255;

/** The path of the content with this digest. */
export function blobPath(digest: Digest): string {
  const hex = hexOf(digest);
  return `${blobsFolder}/${algorithmOf(digest)}/${hex.slice(0, 2)}/${hex}`;
}

/** The folders of content whose digests begin with these two characters of hex. */
export function blobFolders(startingWith: string): readonly string[] {
  return ['sha256', 'sha512'].map((algorithm) => `${blobsFolder}/${algorithm}/${startingWith}`);
}

/** The checkpoint of a file in incoming/: how much of it has been synced to the disk. */
export function checkpointPath(incomingPath: string): string {
  return `${incomingPath}.json`;
}

/** The digest whose content belongs at `path`; undefined for any other path. */
export function digestAt(path: string): Digest | undefined {
  const [, algorithm, , hex] = path.split('/');
  const digest = `${algorithm}:${hex}`;
  return isDigest(digest) && blobPath(digest) === path ? digest : undefined;
}

/** The path of a file in quarantine: in the order of their names the files are in the order of their age. */
export function quarantinePath(digest: Digest, nowMs: number): string {
  return `${quarantineFolder}/${String(nowMs).padStart(15, '0')}-${algorithmOf(digest)}-${hexOf(digest)}`;
}

/**
 * The path of a record.
 * @throws Error when the upstream's name is no host: a name from a client must never lead out of the store.
 */
export function recordPath(key: RecordKey): string {
  const folder = repositoryPath(key.repositoryId);
  switch (key.kind) {
    case 'tag':
      return `${folder}/${tagsFolder}/${key.tag}.json`;
    case 'manifest':
    case 'blob':
    case 'referrers':
      return `${folder}/${folderByKind[key.kind]}/${algorithmOf(key.digest)}/${hexOf(key.digest)}.json`;
    case 'tag-list':
    case 'visibility':
      return `${folder}/${fileByKind[key.kind]}`;
  }
}

/** The folder with the records of the manifests of a repository. @throws as {@link recordPath} */
export function manifestRecordsPath(repositoryId: RepositoryId): string {
  return `${repositoryPath(repositoryId)}/${folderByKind.manifest}`;
}

/** The folder with the records of the tags of a repository. @throws as {@link recordPath} */
export function tagRecordsPath(repositoryId: RepositoryId): string {
  return `${repositoryPath(repositoryId)}/${tagsFolder}`;
}

/** The folder with the repositories of an upstream. @throws as {@link recordPath} */
export function upstreamPath(upstream: string): string {
  if (!isUpstreamName(upstream)) throw new Error(`"${upstream}" is not the name of a registry`);
  return `${repositoriesFolder}/${upstream}`;
}

/** Whether a folder of a repository holds its records; any other leads to further repositories. */
export function isRecordsFolder(name: string): boolean {
  return name.startsWith('_');
}

/** Whether a folder, `path`, holds nothing but links: records of manifests or of blobs. */
export function isLinksFolder(path: string): boolean {
  const [folder, algorithm] = path.split('/').slice(-2);
  return algorithm !== undefined && (folder === folderByKind.manifest || folder === folderByKind.blob);
}

/** The record that belongs at `path`; undefined for any other path. */
export function recordKeyAt(path: string): RecordKey | undefined {
  const key = recordKeyLike(path.split('/'));
  return key && recordPath(key) === path ? key : undefined;
}

function recordKeyLike([, upstream = '', ...rest]: readonly string[]): RecordKey | undefined {
  const ownAt = rest.findIndex(isRecordsFolder);
  const repository = rest.slice(0, Math.max(0, ownAt)).join('/');
  if (!isUpstreamName(upstream) || !isRepository(repository)) return undefined;
  const [folder = '', ...names] = rest.slice(ownAt);
  return recordIn(folder, names.join(':').replace(/\.json$/, ''), { upstream, repository });
}

/** @param name a tag, or a digest. */
function recordIn(folder: string, name: string, repositoryId: RepositoryId): RecordKey | undefined {
  switch (folder) {
    case tagsFolder:
      return isTag(name) ? { kind: 'tag', repositoryId, tag: name } : undefined;
    case folderByKind.manifest:
      return isDigest(name) ? { kind: 'manifest', repositoryId, digest: name } : undefined;
    case folderByKind.blob:
      return isDigest(name) ? { kind: 'blob', repositoryId, digest: name } : undefined;
    case folderByKind.referrers:
      return isDigest(name) ? { kind: 'referrers', repositoryId, digest: name } : undefined;
    case fileByKind['tag-list']:
      return { kind: 'tag-list', repositoryId };
    case fileByKind.visibility:
      return { kind: 'visibility', repositoryId };
    default:
      return undefined;
  }
}

/** The folder with the records of a repository, and with the repositories below it. @throws as {@link recordPath} */
export function repositoryPath({ upstream, repository }: RepositoryId): string {
  return `${upstreamPath(upstream)}/${repository}`;
}

function isUpstreamName(text: string): boolean {
  return text.length <= maxNameLength && upstreamGrammar.test(text);
}
