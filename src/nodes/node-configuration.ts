import { basename, dirname } from 'node:path';
import {
  type Found,
  isOurs,
  type Ownership,
  type RemoveDecision,
  removeDecision,
  type WriteDecision,
  writeDecision,
} from './decisions.ts';
import { fileNames, type NodeFile, ownerIn } from './desired-files.ts';
import type { NodeFolder } from './node-folder.ts';

/** What was done about a file. */
export interface Outcome {
  readonly path: string;
  readonly action: Exclude<WriteDecision, 'keep'> | Exclude<RemoveDecision, 'leave'> | 'failed';
  readonly cause?: unknown;
  /** The release whose file stays. */
  readonly release?: string | undefined;
}

interface Decided {
  readonly file: NodeFile;
  readonly found: Found;
  readonly decision: WriteDecision;
}

/**
 * Makes the files of a folder as they should be, and removes those of the owner that are no longer wanted. A failure of one file does not
 * keep the others from being written.
 * @returns what was done, refused or failed; nothing for files that are as they should be.
 */
export async function applyFiles(
  folder: NodeFolder,
  wanted: readonly NodeFile[],
  ownership: Ownership,
): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const group of Map.groupBy(wanted, ({ path }) => dirname(path)).values())
    outcomes.push(...(await attempt(group[0]?.path ?? '', () => applyGroup(folder, group, ownership))));
  const paths = new Set(wanted.map(({ path }) => path));
  return [...outcomes, ...(await removeFiles(folder, ownership.owner, (path) => !paths.has(path)))];
}

/** The files for one registry belong together: if one of them is another's, none is written. */
async function applyGroup(
  folder: NodeFolder,
  group: readonly NodeFile[],
  ownership: Ownership,
): Promise<readonly Outcome[]> {
  const decided: Decided[] = [];
  for (const file of group) {
    const found = await folder.find(file.path);
    decided.push({ file, found, decision: writeDecision(found, file.text, ownership) });
  }
  const refused = decided.filter(({ decision }) => decision === 'refuse');
  if (refused.length > 0)
    return refused.map(({ file, found }) => ({ path: file.path, action: 'refuse', release: releaseOf(found) }));
  const done: Outcome[] = [];
  for (const { file, decision } of decided) {
    if (decision === 'keep' || decision === 'refuse') continue;
    if (decision === 'take-over') await folder.backUp(file.path);
    await folder.replace(file.path, file.text);
    done.push({ path: file.path, action: decision });
  }
  return done;
}

function releaseOf(found: Found): string | undefined {
  return found.kind === 'text' ? ownerIn(found.text) : undefined;
}

/** Removes the owner's files, and puts back what they replaced. @param isUnwanted by default all of them. */
export async function removeFiles(
  folder: NodeFolder,
  owner: string,
  isUnwanted: (path: string) => boolean = () => true,
): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = [];
  const paths = (await folder.named(fileNames)).filter(isUnwanted);
  for (const path of paths.toSorted(lastRead))
    outcomes.push(...(await attempt(path, () => removeFile(folder, path, owner))));
  return outcomes;
}

async function removeFile(folder: NodeFolder, path: string, owner: string): Promise<readonly Outcome[]> {
  const found = await folder.find(path);
  const decision = removeDecision(found, { owner, hasBackup: await folder.hasBackup(path) });
  if (decision === 'restore') await folder.restore(path);
  if (decision === 'remove') await folder.remove(path);
  if (decision !== 'leave' || found.kind === 'nothing' || isOurs(found, owner)) await folder.tidy(path);
  return decision === 'leave' ? [] : [{ path, action: decision }];
}

/** What other files name is removed after them. */
function lastRead(one: string, other: string): number {
  const isNamed = (path: string) => Number(basename(path).endsWith('.pem'));
  return isNamed(one) - isNamed(other) || (one < other ? -1 : 1);
}

async function attempt(path: string, work: () => Promise<readonly Outcome[]>): Promise<readonly Outcome[]> {
  try {
    return await work();
  } catch (cause) {
    return [{ path, action: 'failed', cause }];
  }
}
