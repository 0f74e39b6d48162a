import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../config/schema.ts';
import { Rebuilder } from '../index/rebuilder.ts';
import type { AssembledMirror } from '../mirror/mirror-parts.ts';
import { Scrubber } from '../mirror/eviction/scrubber.ts';
import type { Observer } from '../mirror/ports/observer.ts';
import type { Log } from '../telemetry/log.ts';
import { type Part, partOf } from './lifecycle.ts';
import type { Stores } from './stores.ts';

export interface MaintenanceDeps {
  readonly stores: Stores;
  readonly mirror: Pick<AssembledMirror, 'sweep' | 'storeAgain'>;
  readonly observer: Observer;
  readonly log: Pick<Log, 'logger'>;
}

export interface Maintenance {
  readonly rebuilder: Part;
  readonly sweeper: Part;
  readonly scrubber: Part;
}

const sweepEveryMs = 60_000;

/** The background parts that maintain the store. */
export function createMaintenance({ storage }: Config, deps: MaintenanceDeps): Maintenance {
  const { stores, mirror, observer, log } = deps;
  const { store, records, index, scrubbing, scan } = stores;
  const sweep = () =>
    void mirror.sweep().catch((cause: unknown) => observer.internalError({ part: 'eviction', cause }));
  const onChange = (state: 'rebuilding' | 'rebuilt', reason?: string): void => {
    log.logger.info({ state, reason }, 'index');
    if (state === 'rebuilt') sweep(); // Disk use was undercounted until now.
  };
  return {
    rebuilder: new Rebuilder({ store, records, index, observer, scan, onChange }),
    sweeper: sweeperOf(sweep),
    scrubber: new Scrubber({
      store,
      observer,
      progress: scrubbing,
      everyMs: storage.scrubEveryMs,
      bytesPerSecond: storage.scrubBytesPerSecond,
      onQuarantined: (digest) => mirror.storeAgain(digest),
      wait: (ms, { signal }) => sleep(ms, undefined, { signal }),
    }),
  };
}

/** Sweeps the store at start and once a minute. */
function sweeperOf(sweep: () => void): Part {
  let timer: NodeJS.Timeout | undefined;
  return partOf('sweeper', {
    start: async () => {
      timer = setInterval(sweep, sweepEveryMs).unref();
      sweep(); // The first sweep finds what earlier processes left in the store.
    },
    stop: async () => clearInterval(timer),
  });
}
