import { anyGlobMatcher } from '../../oci/glob.ts';
import { FreePages } from './free-pages.ts';
import type { NoteFile } from './note-flusher.ts';
import { NoteWriter } from './note-writer.ts';
import type { OpenDatabaseOptions, OpenedDatabase } from './open-database.ts';
import { RowRemover } from './row-remover.ts';
import { ViewReader } from './view-reader.ts';

/** An open index, with its reader and writers. */
export interface OpenView extends OpenedDatabase {
  readonly reader: ViewReader;
  readonly remover: RowRemover;
  readonly file: NoteFile;
}

export type OpenViewOptions = Omit<OpenDatabaseOptions, 'isKept'>;

/** @param open opens or creates the database. */
export async function openView(
  options: OpenViewOptions,
  open: (options: OpenDatabaseOptions) => Promise<OpenedDatabase>,
): Promise<OpenView> {
  const isKept = anyGlobMatcher(options.keep);
  const opened = await open({ ...options, isKept });
  const { database } = opened;
  const pages = new FreePages(opened);
  const writer = new NoteWriter({ ...opened, isKept });
  const shrink = () => pages.giveBackSome();
  return {
    ...opened,
    reader: new ViewReader(opened),
    remover: new RowRemover(opened),
    file: { database, writer, shrink },
  };
}
