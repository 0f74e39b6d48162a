import type { DatabaseSync } from 'node:sqlite';
import { textIn } from './rows.ts';

export interface KeepRules {
  /** The globs of `storage.keep`, as they are written. */
  readonly keep: readonly string[];
  readonly isKept: (repository: string) => boolean;
}

/** Marks again which links are kept, if the index was written under another `storage.keep`. To be called in a transaction. */
export function applyKeep(database: DatabaseSync, { keep, isKept }: KeepRules): void {
  const text = JSON.stringify(keep);
  if (textIn(database.prepare('SELECT keep FROM state').get() ?? {}, 'keep') === text) return;
  const next = database.prepare(
    'SELECT repository FROM links INDEXED BY held WHERE repository > ? ORDER BY repository LIMIT 1',
  );
  const update = database.prepare('UPDATE links INDEXED BY held SET kept = ?1 WHERE repository = ?2 AND kept <> ?1');
  for (let row = next.get(''); row; row = next.get(textIn(row, 'repository'))) {
    const repository = textIn(row, 'repository');
    update.run(isKept(repository) ? 1 : 0, repository);
  }
  database.prepare('UPDATE state SET keep = ?').run(text);
}
