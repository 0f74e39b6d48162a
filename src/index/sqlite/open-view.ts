import { anyGlobMatcher } from '../../oci/reference.ts';
import type { IndexFile } from './buffer-flusher.ts';
import { CatalogueReader } from './catalogue/catalogue-reader.ts';
import { FreePages, RowWriter, type RowWriterDeps } from './rows.ts';
import type { OpenDatabaseOptions, OpenedDatabase } from './open-database.ts';
import { RowRemover } from './row-remover.ts';
import { timedQueries, type TimedQueriesDeps, type ViewQueries, ViewReader } from './view-reader.ts';

/** An open index, with its reader and writers. */
export interface OpenView extends OpenedDatabase {
  readonly reader: ViewQueries;
  readonly lists: CatalogueReader;
  readonly remover: RowRemover;
  readonly file: IndexFile;
}

export type OpenViewOptions = Omit<OpenDatabaseOptions, 'isKept'> & TimedQueriesDeps & Pick<RowWriterDeps, 'epoch'>;

/** Opens the index with its reader and writers. @param open opens or creates the database. */
export async function openView(
  options: OpenViewOptions,
  open: (options: OpenDatabaseOptions) => Promise<OpenedDatabase>,
): Promise<OpenView> {
  const isKept = anyGlobMatcher(options.keep);
  const opened = await open({ ...options, isKept });
  const { database } = opened;
  const pages = new FreePages(opened);
  const writer = new RowWriter({ ...options, ...opened, isKept });
  return {
    ...opened,
    reader: timedQueries(new ViewReader(opened), options),
    lists: new CatalogueReader({ ...options, ...opened }),
    remover: new RowRemover(opened),
    file: { database, writer, pages },
  };
}
