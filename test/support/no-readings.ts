import type { Readings } from '../../src/telemetry/readouts.ts';

/** Of a mirror without content that does nothing. */
export const noReadings: Readings = {
  memory: { maxBytes: 0, reservedBytes: 0, waiting: 0 },
  maxBytes: 0,
  maxFiles: 0,
  scrubEveryMs: 0,
  scrubTimes: () => ({}),
  use: async () => ({ bytes: 0, files: 0 }),
  totals: async () => ({ bytes: 0, manifestBytes: 0, manifests: 0, blobs: 0 }),
  freeBytes: async () => 0,
  diskBytes: async () => 0,
  pendingBytes: () => 0,
  quarantinedFiles: () => 0,
  oldestUseMs: async () => 0,
  isIndexComplete: () => true,
  droppedLogLines: () => 0,
  uploadsQueued: () => 0,
  swept: () => undefined,
  isDraining: () => false,
  openConnections: () => 0,
  requests: () => new Map(),
  upstreams: () => [],
  certificates: () => [],
  eventListeners: () => 0,
  eventQueueBytes: () => 0,
  webhooks: () => [],
};
