/**
 * Every step of writing at which a process may die, in the order in which it passes them. What is visible after a death there:
 *
 *     …created … …synced        nothing: a temporary file, swept at the next start
 *     …renamed, …folder-synced  the whole, verified
 *
 * and, for a mark of an unfinished blob:
 *
 *     …data-synced … …synced    the mark before, or none: then the unfinished blob is swept
 *     …renamed, …folder-synced  the mark
 */
export const failpoints = [
  'blob.created',
  'blob.written',
  'blob.synced',
  'blob.renamed',
  'blob.folder-synced',
  'record.created',
  'record.written',
  'record.synced',
  'record.renamed',
  'record.folder-synced',
] as const;

/** Only larger blobs pass these. */
export const markFailpoints = [
  'mark.data-synced',
  'mark.created',
  'mark.written',
  'mark.synced',
  'mark.renamed',
  'mark.folder-synced',
] as const;

export type Failpoint = (typeof failpoints)[number] | (typeof markFailpoints)[number];

/** Called at each step. It does nothing in production; tests throw or kill the process there. */
export type FailpointHook = (step: Failpoint) => void;
