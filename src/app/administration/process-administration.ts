import type { Administration } from '../../http/management/api/routes.ts';
import type { PurgeAnswer, Reloaded, Stats, Upstreams } from '../../http/management/api/schemas.ts';
import { Problem } from '../../http/management/problems.ts';
import { WholeLists } from '../../mirror/administration/catalogue.ts';
import type { Purge, PurgeRefusal, PurgeTarget } from '../../mirror/administration/purge.ts';
import type { AssembledMirror } from '../../mirror/mirror-parts.ts';
import type { CacheWord } from '../../mirror/ports/cache-status.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import { repositoryKey } from '../../mirror/ports/repository-id.ts';
import type { Catalogue, Index } from '../../mirror/ports/store-index.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import type { AnswerTotals } from '../../telemetry/answers.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { StoreReadings } from '../../telemetry/readouts.ts';
import type { ReloadResult } from '../reloading.ts';
import type { UpstreamHealth } from '../upstream-health.ts';
import { CachedCatalogue } from './catalogue-administration.ts';
import type { Upstreams as UpstreamsPart } from '../upstreams.ts';

export interface AdministrationDeps {
  readonly observer: Pick<Metrics, 'answerTotals' | 'activityOf'>;
  readonly health: Pick<UpstreamHealth, 'states' | 'lastSuccesses'>;
  readonly upstreams: Pick<UpstreamsPart, 'directory'>;
  readonly mirror: Pick<AssembledMirror, 'waitingFor' | 'purgeIn'>;
  readonly readings: StoreReadings;
  readonly catalogue: Catalogue & Index;
  readonly clock: Pick<Clock, 'now'>;
}

/** What the management API asks of this process. */
export class ProcessAdministration implements Administration {
  readonly catalogue: CachedCatalogue;
  readonly #deps: AdministrationDeps;
  readonly #startedAtMs: number;
  readonly #purge: Purge;
  #reload: (() => Promise<ReloadResult>) | undefined;

  constructor(deps: AdministrationDeps) {
    this.#deps = deps;
    this.#startedAtMs = deps.clock.now();
    const index = deps.catalogue;
    this.catalogue = new CachedCatalogue({ index, lists: new WholeLists({ index }) });
    this.#purge = deps.mirror.purgeIn(deps.catalogue);
  }

  /** From now on a reload can be asked for. */
  reloadBy(reload: () => Promise<ReloadResult>): void {
    this.#reload = reload;
  }

  async reload(): Promise<Reloaded> {
    if (this.#reload === undefined) throw new Problem('unavailable', 'the mirror is starting');
    const { isUsed, sha256, needRestart, problems } = await this.#reload();
    if (isUsed && sha256 !== undefined) return { sha256, needRestart: [...needRestart] };
    const members = { problems, ...(sha256 !== undefined && { sha256 }) };
    throw new Problem('refused', 'the configuration file cannot be used; the old one stays in use', { members });
  }

  async stats(): Promise<Stats> {
    const { observer, health, readings } = this.#deps;
    const totals = observer.answerTotals();
    const active = Object.keys(health.states()).map((label) => observer.activityOf(label));
    const served = sumOf([...totals.values()].map(({ bytes }) => bytes));
    const fromUpstream = sumOf(active.map(({ bytes }) => bytes));
    return {
      startedAt: isoOf(this.#startedAtMs),
      requests: requestsOf(totals),
      bytes: { served, fromUpstream, saved: Math.max(0, served - fromUpstream) },
      upstreamRequests: sumOf(active.map(({ requests }) => requests)),
      storage: await storageOf(readings),
    };
  }

  async upstreams(): Promise<Upstreams> {
    const { health } = this.#deps;
    const successes = new Map(health.lastSuccesses().map((one) => [one.upstream, one.lastSuccessAtMs]));
    const items = Object.entries(health.states()).map(([name, state]) => {
      const lastSuccessAtMs = successes.get(name);
      const lastSuccessAt = lastSuccessAtMs === undefined ? {} : { lastSuccessAt: isoOf(lastSuccessAtMs) };
      return { name, ...state, ...lastSuccessAt, ...this.#activityOf(name) };
    });
    return { items };
  }

  async purge(target: PurgeTarget, { dryRun, signal }: Waiting & { readonly dryRun: boolean }): Promise<PurgeAnswer> {
    const name = repositoryKey(target.repositoryId);
    const found = await (dryRun ? this.#purge.plan(target, { signal }) : this.#purge.run(target, { signal }));
    if (typeof found === 'string') throw purgeProblems[found](name);
    const manifests = found.contents.filter(({ isManifest }) => isManifest).length;
    const blobs = found.contents.length - manifests;
    const bytes = sumOf(found.contents.map(({ size }) => size));
    return {
      dryRun,
      repository: name,
      removed: { tags: found.tags.length, manifests, blobs, bytes },
      kept: found.kept,
      tags: found.tags.slice(0, mostListed),
      digests: found.contents.slice(0, mostListed).map(({ digest }) => digest),
    };
  }

  #activityOf(name: string) {
    const { observer, upstreams, mirror } = this.#deps;
    const { requests, bytes, circuits, rateLimits, secretEndsAtMs, lastFailure } = observer.activityOf(name);
    return {
      ...(lastFailure && { lastFailure: { reason: lastFailure.reason, at: isoOf(lastFailure.atMs) } }),
      circuits: [...circuits].map(([endpoint, state]) => ({ endpoint, state })),
      requests,
      bytes,
      running: upstreams.directory.running(name),
      waiting: mirror.waitingFor(name),
      rateLimits: [...rateLimits.values()].map(({ account, limit, remaining, windowSeconds, atMs }) => ({
        account,
        limit,
        remaining,
        ...(windowSeconds !== undefined && { windowSeconds }),
        reportedAt: isoOf(atMs),
      })),
      credentials: [...secretEndsAtMs].map(([account, endsAtMs]) => ({ account, expiresAt: isoOf(endsAtMs) })),
    };
  }
}

/** Tags and digests of one answer. */
const mostListed = 1_000;

const purgeProblems: Readonly<Record<PurgeRefusal, (name: string) => Problem>> = {
  unknown: (name) => new Problem('not-found', `this of ${name} is not cached`),
  unreadable: () =>
    new Problem('unavailable', 'the index cannot tell now what is needed; see isIndexComplete in stats'),
  'too-many': (name) => new Problem('refused', `${name} has more tags or contents than one purge removes; name a tag`),
};

const needNothing: readonly CacheWord[] = ['hit', 'revalidated', 'stale'];

/** As the hit ratio in docs/metrics.md is computed. Pure. */
function requestsOf(totals: ReadonlyMap<CacheWord, AnswerTotals>): Stats['requests'] {
  const answersOf = (words: Iterable<CacheWord>) => sumOf([...words].map((word) => totals.get(word)?.answers ?? 0));
  const total = answersOf([...totals.keys()].filter((word) => word !== 'none'));
  const hitRatio = total === 0 ? null : answersOf(needNothing) / total;
  const heard = [...totals].filter(([, { answers }]) => answers > 0);
  return { total, hitRatio, byCache: Object.fromEntries(heard) };
}

async function storageOf(readings: StoreReadings): Promise<Stats['storage']> {
  const unknown = () => Number.NaN;
  const [use, totals, free, disk, oldestUseMs] = await Promise.all([
    readings.use(),
    readings.totals(),
    readings.freeBytes().catch(unknown),
    readings.diskBytes().catch(unknown),
    readings.oldestUseMs(),
  ]);
  return {
    usedBytes: known(use.bytes),
    maxBytes: readings.maxBytes,
    files: known(use.files),
    maxFiles: readings.maxFiles,
    freeBytes: known(free),
    diskBytes: known(disk),
    contentBytes: known(totals.bytes),
    blobs: known(totals.blobs),
    manifests: known(totals.manifests),
    quarantinedFiles: readings.quarantinedFiles(),
    oldestUseAt: Number.isNaN(oldestUseMs) ? null : isoOf(oldestUseMs),
    isIndexComplete: readings.isIndexComplete(),
  };
}

function known(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

function isoOf(ms: number): string {
  return new Date(ms).toISOString();
}
