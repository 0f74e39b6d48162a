/**
 * Every step of writing at which a process may die, in order. What is visible after a crash there:
 *
 *     …created … …synced        nothing: a temporary file, swept at the next start
 *     …renamed, …folder-synced  the whole, verified
 *
 * and, for the checkpoint of a partial download:
 *
 *     …data-synced … …synced    the checkpoint before, or none: then the partial download is swept
 *     …renamed, …folder-synced  the checkpoint
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
export const checkpointFailpoints = [
  'checkpoint.data-synced',
  'checkpoint.created',
  'checkpoint.written',
  'checkpoint.synced',
  'checkpoint.renamed',
  'checkpoint.folder-synced',
] as const;

export type Failpoint = (typeof failpoints)[number] | (typeof checkpointFailpoints)[number];

/** Called at each step. There is none in production; tests throw or kill the process there. */
export type FailpointHook = (step: Failpoint) => void;
