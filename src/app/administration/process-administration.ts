import type { ArchivesNeeds } from '../../http/management/api/content/archive-routes.ts';
import type { ImagesNeeds } from '../../http/management/api/image-routes.ts';
import type { MinutesNeeds } from '../../http/management/api/minutes-routes.ts';
import type { RefreshAnswer } from '../../http/management/api/content/refresh-routes.ts';
import type { StorageNeeds } from '../../http/management/api/store/storage-routes.ts';
import type { Administration } from '../../http/management/api/routes.ts';
import { isoOf, type Reloaded, type Stats, type Upstreams } from '../../http/management/api/schemas.ts';
import { Problem } from '../../http/management/problems.ts';
import type { RepositoryId } from '../../mirror/ports/repository-id.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { parseHostName, type Tag } from '../../oci/reference.ts';
import type { AssembledMirror, TagConfirmation } from '../../mirror/mirror-parts.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Catalogue, CatalogueLists, Index, TagOfRepository } from '../../mirror/ports/store-index.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { StoreReadings } from '../../telemetry/readouts.ts';
import type { ReloadResult } from '../reloading.ts';
import type { UpstreamHealth } from '../upstream-health.ts';
import { refreshTag } from './refresh-tag.ts';
import { ProcessPurges } from './process-purges.ts';
import { requestsOf, topRepositories } from './served-totals.ts';
import { CachedCatalogue } from './catalogue-administration.ts';
import type { OperatorJobs } from './jobs-administration.ts';
import type { Upstreams as UpstreamsPart } from '../upstreams.ts';

export interface AdministrationDeps {
  readonly observer: Pick<Metrics, 'answerTotals' | 'repositoryTotals' | 'activityOf' | 'upstreamTotals'>;
  readonly health: Pick<UpstreamHealth, 'states' | 'lastSuccesses'>;
  readonly upstreams: Pick<UpstreamsPart, 'directory'>;
  readonly mirror: Pick<AssembledMirror, 'waitingFor' | 'purgeIn' | 'mirror' | 'confirmationOf'>;
  readonly readings: StoreReadings;
  readonly catalogue: Catalogue & CatalogueLists & Index;
  readonly clock: Pick<Clock, 'now'>;
  readonly jobs: OperatorJobs;
}

/** Answered elsewhere. */
type OtherNeeds = ArchivesNeeds & ImagesNeeds & MinutesNeeds & StorageNeeds;

/** What the management API asks of this process. */
export class ProcessAdministration implements Omit<Administration, 'events' | 'pins' | 'requests' | keyof OtherNeeds> {
  readonly catalogue: CachedCatalogue;
  readonly purges: ProcessPurges;
  readonly jobs: OperatorJobs;
  readonly #deps: AdministrationDeps;
  readonly #startedAtMs: number;
  #reload: (() => Promise<ReloadResult>) | undefined;

  constructor(deps: AdministrationDeps) {
    this.#deps = deps;
    this.jobs = deps.jobs;
    this.#startedAtMs = deps.clock.now();
    const index = deps.catalogue;
    this.catalogue = new CachedCatalogue({ index, confirmationOf: (tag) => this.#confirmationOf(tag) });
    this.purges = new ProcessPurges({ purge: deps.mirror.purgeIn(index), index });
  }

  /** Nothing of an upstream that is not configured any more. */
  #confirmationOf(tag: TagOfRepository): TagConfirmation | undefined {
    const host = parseHostName(tag.repositoryId.upstream);
    const upstream = host && this.#deps.upstreams.directory.find(host);
    return upstream && this.#deps.mirror.confirmationOf(tag, upstream.label);
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

  refresh(repositoryId: RepositoryId, tag: Tag, waiting: Waiting): Promise<RefreshAnswer> {
    return refreshTag(this.#deps.mirror.mirror, { repositoryId, tag }, waiting);
  }

  async stats(): Promise<Stats> {
    const { observer, readings } = this.#deps;
    const totals = observer.answerTotals();
    const served = sumOf([...totals.values()].map(({ bytes }) => bytes));
    const { bytes: fromUpstream, requests } = observer.upstreamTotals();
    return {
      startedAt: isoOf(this.#startedAtMs),
      requests: requestsOf(totals),
      bytes: { served, fromUpstream, saved: Math.max(0, served - fromUpstream) },
      upstreamRequests: requests,
      top: topRepositories(observer.repositoryTotals()),
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
