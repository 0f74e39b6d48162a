import type { Digest } from '../../../oci/digest.ts';
import { parseHostName } from '../../../oci/reference.ts';
import type { LocatedRepository, Mirror } from '../../mirror.ts';
import type { BlobStore } from '../../ports/blob-store.ts';
import { type RepositoryId, repositoryKey } from '../../ports/repository-id.ts';
import type { Catalogue } from '../../ports/store-index.ts';
import type { Waiting } from '../../ports/waiting.ts';
import { asked, type BlobTurns, pause, storeBlob, type Wait } from './fetch-content.ts';
import { detailOf } from './job-problems.ts';
import type { VerifyReport } from './verify-report.ts';
import { reasonOf } from './warm-report.ts';

export interface RefetchDeps {
  readonly mirror: Pick<Mirror, 'locate' | 'manifest' | 'blob'>;
  readonly index: Pick<Catalogue, 'details'>;
  readonly store: Pick<BlobStore, 'open'>;
  readonly turns: BlobTurns;
  /** Writes a manifest again that is still in memory. */
  readonly storeAgain: (digest: Digest) => void;
  /** Resolves when what was pulled is written. */
  readonly written: () => Promise<void>;
  /** For tests. */
  readonly wait?: Wait;
}

/** Contents at the same time. */
const atOnce = 4;
/** The repositories through which one content is tried. */
const mostRepositories = 3;

/** Fetches content again that was damaged or is missing, through a repository that is linked to it, as its clients would. */
export class Refetch {
  readonly #deps: RefetchDeps;

  constructor(deps: RefetchDeps) {
    this.#deps = deps;
  }

  /** @throws the signal's reason. */
  async all(report: VerifyReport, waiting: Waiting): Promise<void> {
    const left = report.lost.values();
    const oneAfterAnother = async (): Promise<void> => {
      for (const digest of left) {
        waiting.signal.throwIfAborted();
        const failure = await this.#one(digest, waiting);
        if (failure === undefined) report.refetched();
        else report.notRefetched(digest, failure);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, oneAfterAnother));
  }

  /** @returns why it is still not stored; undefined if it is. */
  async #one(digest: Digest, waiting: Waiting): Promise<string | undefined> {
    const details = await this.#deps.index.details(digest);
    if (details?.content === undefined) return 'the index does not know it any more';
    const repositories = new Map(details.linkedBy.map((one) => [repositoryKey(one), one]));
    let failure = 'no repository is linked to it';
    for (const repositoryId of [...repositories.values()].slice(0, mostRepositories)) {
      try {
        if (details.content.isManifest) await this.#manifest(repositoryId, digest, waiting);
        else failure = (await this.#blob(repositoryId, digest, waiting)) ?? failure;
        if (await this.#isStored(digest)) return undefined;
      } catch (cause) {
        waiting.signal.throwIfAborted();
        if (reasonOf(cause) === undefined) throw cause;
        failure = `${repositoryKey(repositoryId)}: ${detailOf(cause)}`;
      }
    }
    return failure;
  }

  /** A manifest that is in memory is only written again. */
  async #manifest(repositoryId: RepositoryId, digest: Digest, waiting: Waiting): Promise<void> {
    const { mirror, storeAgain, written, wait = pause } = this.#deps;
    storeAgain(digest);
    await written();
    if (await this.#isStored(digest)) return;
    const located = this.#located(repositoryId);
    await asked(async (soon) => mirror.manifest(located, digest, false, soon), { ...waiting, wait });
    await written();
  }

  /** @returns why it could not be stored. */
  async #blob(repositoryId: RepositoryId, digest: Digest, { signal }: Waiting): Promise<string | undefined> {
    const { mirror, turns, wait = pause } = this.#deps;
    const located = this.#located(repositoryId);
    const store = (soon: Waiting) => storeBlob(located, digest, { mirror, signal, soon });
    const outcome = await turns.run(located.upstream, () => asked(store, { signal, wait }), { signal });
    return outcome.kind === 'failed' ? `${repositoryKey(repositoryId)}: ${outcome.detail}` : undefined;
  }

  /** @throws OciError when the upstream is no longer configured. */
  #located({ upstream, repository }: RepositoryId): LocatedRepository {
    const hints = { host: undefined, pathPrefix: undefined, name: repository };
    return this.#deps.mirror.locate({ ...hints, namespace: parseHostName(upstream) });
  }

  async #isStored(digest: Digest): Promise<boolean> {
    try {
      await using blob = await this.#deps.store.open(digest);
      return blob !== undefined;
    } catch {
      return false; // The disk cannot open it.
    }
  }
}
