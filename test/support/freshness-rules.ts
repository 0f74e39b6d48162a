import type { FreshnessRules } from '../../src/mirror/tags/freshness.ts';

/** The defaults of the configuration. */
export const defaultRules: FreshnessRules = {
  tagMs: 5 * 60_000,
  tags: [],
  missingMs: 30_000,
  staleForMs: Infinity,
  staleOn: {
    connect: 'serve',
    dns: 'serve',
    tls: 'serve',
    timeout: 'serve',
    error: 'serve',
    rateLimit: 'serve',
    refused: 'serve',
  },
  deletedUpstream: 'serve',
  offline: false,
};
