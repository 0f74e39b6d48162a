import type { Config } from '../../config/schema.ts';
import { RecentRequests } from '../../http/middleware/access-log.ts';
import type { Administration } from '../../http/management/api/routes.ts';
import type { AssembledMirror } from '../../mirror/mirror-parts.ts';
import type { RateLimits } from '../../mirror/routing/rate-limits.ts';
import type { UpstreamDirectory } from '../../mirror/ports/upstream.ts';
import { parseHostName } from '../../oci/reference.ts';
import type { FileSystem } from '../../storage/filesystem/file-system.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Part } from '../lifecycle.ts';
import type { Stores } from '../stores.ts';
import { ProcessArchives } from './archives/archives-administration.ts';
import { CachedImages } from './images-administration.ts';
import { createJobs, type OperatorJobs } from './jobs-administration.ts';
import { type AdministrationDeps, ProcessAdministration } from './process-administration.ts';
import type { StorePins } from './pins-administration.ts';
import { createStorageAdministration } from './storage-administration.ts';
import { createTrafficHistory } from './traffic-history.ts';

export interface ManagedProcess extends Omit<AdministrationDeps, 'catalogue' | 'jobs'> {
  readonly stores: Pick<Stores, 'index' | 'lock' | 'store' | 'scrubbing'>;
  readonly observer: Metrics;
  readonly events: Administration['events'];
  readonly pins: StorePins;
  readonly clock: Clock;
  readonly mirror: AssembledMirror;
  readonly rateLimits: RateLimits;
  readonly files: FileSystem;
  readonly log: Pick<Log, 'logger'>;
}

export interface ProcessManagement {
  /** What the management API may ask. */
  readonly administration: Administration & Pick<ProcessAdministration, 'reloadBy'>;
  /** The parts of it that keep something in the store: they start when the store is prepared. */
  readonly kept: readonly Part[];
  readonly jobs: OperatorJobs;
  readonly archives: ProcessArchives;
  /** For the listener of clients. */
  readonly recent: RecentRequests;
}

/** Puts together what the management API may ask of this process. */
export function createAdministration(config: Config, deps: ManagedProcess): ProcessManagement {
  const { stores, files, observer } = deps;
  const minutes = createTrafficHistory({ stores, files, path: config.storage.path }, { ...deps, counters: observer });
  const jobs = createJobs(config, deps);
  const own = new ProcessAdministration({ ...deps, jobs, catalogue: stores.index });
  const labelOf = (name: string) => labelIn(deps.upstreams.directory, name);
  const images = new CachedImages({ images: deps.mirror.imagesIn(stores.index), labelOf });
  const recent = new RecentRequests();
  const storage = createStorageAdministration({ ...deps, index: stores.index });
  const archives = new ProcessArchives(deps);
  const { events, pins } = deps;
  const administration = Object.assign(own, { archives, events, images, minutes, pins, requests: recent, storage });
  return { administration, kept: [minutes, pins], jobs, archives, recent };
}

function labelIn(directory: UpstreamDirectory, name: string): string {
  const host = parseHostName(name);
  return (host && directory.find(host)?.label) ?? name;
}
