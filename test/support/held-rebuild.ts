import { onTestFinished } from 'vitest';
import { type Gate, gate } from './gate.ts';
import type { ScriptedFiles } from './scripted-files.ts';

export interface HeldRebuild {
  /** Resolves when a rebuild wants to list the records: the content is counted. */
  readonly held: Promise<void>;
  /** Opened by the test, or when it has ended. */
  readonly records: Gate;
}

/** Rebuilds of the index get no further than the content, until `records` opens. */
export function holdRebuild(files: ScriptedFiles): HeldRebuild {
  const [held, records] = [gate(), gate()];
  onTestFinished(() => records.open());
  files.before = async ({ operation, path }) => {
    if (operation !== 'entries' || !path.endsWith('/repositories')) return;
    held.open();
    await records.opened;
  };
  return { held: held.opened, records };
}
