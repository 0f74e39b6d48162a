import type { Administration } from '../../../../src/http/management/api/routes.ts';

const impossible = () => {
  throw new Error('not asked for');
};
const never = async () => impossible();

/** Nothing of it is asked for unless a test says so. */
export const administration: Administration = {
  archives: { export: never, import: never },
  requests: { recorded: 0, list: () => [] },
  events: { listen: () => undefined },
  stats: never,
  catalogue: { repositories: never, tags: never },
  pins: { list: () => ({ items: [], pinnedBytes: 0, isReadable: true }), add: never, remove: never },
  purges: { purge: never, purgeByGlob: never },
  refresh: never,
  jobs: { list: impossible, get: impossible, cancel: never, warm: impossible, verify: never },
  storage: { downloads: impossible, nextEvictions: never },
  reload: never,
  images: { details: never },
  minutes: { list: () => ({ items: [] }) },
  upstreams: never,
};
