import type { RepositoryId } from '../../mirror/ports/repository-id.ts';
import { isRepository } from '../../oci/reference.ts';
import { isRecordsFolder, upstreamPath } from '../layout.ts';
import { entriesIn, type FileSystem } from './file-system.ts';

/** Folders that are read at the same time. */
const readTogether = 16;

export interface RepositoryFoldersOptions {
  readonly files: FileSystem;
  /** The storage path, absolute. */
  readonly root: string;
  readonly upstream: string;
}

/** Repositories of an upstream that have a folder with records, in no order. The records are not looked at. */
export async function* repositoriesBelow({
  files,
  root,
  upstream,
}: RepositoryFoldersOptions): AsyncIterable<RepositoryId> {
  const top = `${root}/${upstreamPath(upstream)}`;
  const unread = [''];
  while (unread.length > 0) {
    const paths = unread.splice(-readTogether);
    const found = await Promise.all(paths.map((path) => foldersIn(files, `${top}/${path}`)));
    for (const [place, names] of found.entries()) {
      const repository = paths[place] ?? '';
      if (isRepository(repository) && names.some(isRecordsFolder)) yield { upstream, repository };
      const further = names.filter((name) => !isRecordsFolder(name));
      unread.push(...further.map((name) => (repository === '' ? name : `${repository}/${name}`)));
    }
  }
}

async function foldersIn(files: FileSystem, folder: string): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const { name, kind } of entriesIn(files, folder)) if (kind === 'folder') names.push(name);
  return names;
}
