/** Measured on 2026-11-29: docs/scaling.md says how they follow from rows of the bench. */
export const measured = {
  /** To send a cached blob to a client or a sibling. */
  sendCpuSecondsPerGiB: 0.36,
  /** To receive, hash and write a blob. */
  receiveCpuSecondsPerGiB: 1.4,
  /** The clients of the bench, on the same machine. */
  clientCpuSecondsPerGiB: 0.36,
  /** The upstream of the bench, on the same machine. */
  upstreamCpuSecondsPerGiB: 0.64,
  /** For a manifest that is cached. */
  cpuSecondsPerRequest: 35e-6,
  /** How many processors one process can use: one for JavaScript, a part of others for files and hashing. */
  processorsPerReplica: 1.3,
} as const;

export type Figures = { readonly [name in keyof typeof measured]: number };
