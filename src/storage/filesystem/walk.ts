import { type FileSystem, failedWith, type FolderEntry } from './file-system.ts';

/**
 * Every file at or below a folder, as paths that begin with `path`. One folder a level is open at a time, and nothing is
 * gathered: what is removed during the walk may be missing, what is added may be there.
 */
export async function* filesBelow(
  files: FileSystem,
  root: string,
  path: string,
  onFolder: () => void = () => {},
): AsyncIterable<string> {
  for await (const { name, kind } of entriesIn(files, `${root}/${path}`)) {
    if (kind === 'folder') {
      onFolder();
      yield* filesBelow(files, root, `${path}/${name}`, onFolder);
    } else if (kind === 'file') yield `${path}/${name}`;
  }
}

/** A folder that vanished meanwhile holds nothing. */
async function* entriesIn(files: FileSystem, folder: string): AsyncIterable<FolderEntry> {
  try {
    yield* files.entries(folder);
  } catch (error) {
    if (!failedWith(error, 'ENOENT')) throw error;
  }
}
