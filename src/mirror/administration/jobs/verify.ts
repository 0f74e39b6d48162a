import type { Digest } from '../../../oci/digest.ts';
import type { Tag } from '../../../oci/reference.ts';
import { abortable } from '../../concurrency/abortable-wait.ts';
import { ContentCheck, type ContentCheckDeps } from '../../eviction/content-check.ts';
import type { ScrubProgress } from '../../eviction/scrub-progress.ts';
import type { BlobStore } from '../../ports/blob-store.ts';
import type { Observer } from '../../ports/observer.ts';
import { type RepositoryId, repositoryKey, repositoryNamed } from '../../ports/repository-id.ts';
import type { Catalogue, Index } from '../../ports/store-index.ts';
import type { Waiting } from '../../ports/waiting.ts';
import { pause, type Wait } from './fetch-content.ts';
import type { Work } from './jobs.ts';
import type { Refetch } from './refetch.ts';
import { type VerifyProgress, VerifyReport } from './verify-report.ts';

/** What is to be read and compared with its digest. */
export type VerifyScope =
  | { readonly kind: 'all' }
  | { readonly kind: 'repository'; readonly repositoryId: RepositoryId }
  /** A manifest of a repository, with what is stored of all that it names. */
  | { readonly kind: 'image'; readonly repositoryId: RepositoryId; readonly digest: Digest };

export interface VerifyOrder {
  readonly scope: VerifyScope;
  /** Whether what is damaged or missing is fetched again. */
  readonly refetch: boolean;
  /** Infinity: as fast as the disk. */
  readonly bytesPerSecond: number;
}

export interface VerifyDeps extends Omit<ContentCheckDeps, 'part' | 'bytesPerSecond' | 'wait'> {
  readonly store: Pick<BlobStore, 'list' | 'open' | 'quarantine'>;
  readonly index: Catalogue & Pick<Index, 'hasContent' | 'totals'>;
  readonly observer: Pick<Observer, 'integrityChecked' | 'internalError'>;
  readonly scrubbing: Pick<ScrubProgress, 'allRead'>;
  /** Resolves when what was pulled is written. */
  readonly written: () => Promise<void>;
  /** What a tag pointed at when it was last confirmed. */
  readonly digestOf: (repositoryId: RepositoryId, tag: Tag) => Promise<Digest | undefined>;
  readonly refetch: Refetch;
  /** For tests. */
  readonly wait?: Wait;
}

const pageSize = 500;
/** An image index names some hundred manifests, with some dozen layers each. */
const mostOfImage = 50_000;

/** Reads stored content and compares it with its digests, by the steps of the scrubber, as fast as an operator wants. */
export class Verify {
  readonly #deps: VerifyDeps;

  constructor(deps: VerifyDeps) {
    this.#deps = deps;
  }

  /** @returns the scope of an image by its tag; undefined if the tag is not cached. */
  async scopeOfTag(repositoryId: RepositoryId, tag: Tag): Promise<VerifyScope | undefined> {
    const digest = await this.#deps.digestOf(repositoryId, tag);
    return digest && { kind: 'image', repositoryId, digest };
  }

  /** Whether anything of the scope is cached; undefined if the index cannot tell now. */
  async isCached(scope: VerifyScope): Promise<boolean | undefined> {
    const { index } = this.#deps;
    if (scope.kind === 'all') return true;
    const { repositoryId } = scope;
    if (scope.kind === 'repository') {
      const links = await index.links(repositoryId, { after: undefined, limit: 1 });
      return links && links.length > 0;
    }
    const details = await index.details(scope.digest);
    return details && details.linkedBy.some((one) => repositoryKey(one) === repositoryKey(repositoryId));
  }

  begin(order: VerifyOrder, waiting: Waiting): Work<VerifyProgress> {
    const report = new VerifyReport();
    return { progress: () => report.told, ended: this.#run(order, report, waiting) };
  }

  async #run({ scope, refetch, bytesPerSecond }: VerifyOrder, report: VerifyReport, waiting: Waiting): Promise<void> {
    const { written, refetch: refetching, wait = pause } = this.#deps;
    // What was just pulled is written in the background, and would look as if it were missing.
    await abortable(written(), waiting.signal);
    const check = new ContentCheck({ ...this.#deps, bytesPerSecond, wait, part: 'verify' });
    if (scope.kind === 'all') await this.#checkAll(check, report, waiting);
    else await this.#checkNamed(this.#digestsOf(scope, report), { check, report }, waiting);
    if (refetch) await refetching.all(report, waiting);
  }

  /** All that is stored, then what the index has and the store does not. */
  async #checkAll(check: ContentCheck, report: VerifyReport, waiting: Waiting): Promise<void> {
    const { store, index, scrubbing } = this.#deps;
    const { manifests, blobs } = await index.totals();
    report.total = manifests + blobs;
    for await (const { digest } of store.list()) {
      waiting.signal.throwIfAborted();
      const { result, bytes } = await check.check(digest, waiting);
      if (result !== 'missing') report.checked(digest, result, bytes); // Else it was evicted.
    }
    await abortable(scrubbing.allRead(), waiting.signal);
    for await (const repositoryId of this.#repositories(report)) {
      for await (const digest of this.#digestsOf({ kind: 'repository', repositoryId }, report)) {
        waiting.signal.throwIfAborted();
        if (await this.#isMissing(digest, waiting)) report.missing(digest);
      }
    }
  }

  async #checkNamed(
    digests: AsyncIterable<Digest>,
    { check, report }: { readonly check: ContentCheck; readonly report: VerifyReport },
    waiting: Waiting,
  ): Promise<void> {
    for await (const digest of digests) {
      waiting.signal.throwIfAborted();
      const { result, bytes } = await check.check(digest, waiting);
      if (result !== 'missing') report.checked(digest, result, bytes);
      else if (await this.#isMissing(digest, waiting)) report.missing(digest);
    }
  }

  /** Whether the index has it and the store does not, also after all that is being written. An eviction tells the index first. */
  async #isMissing(digest: Digest, { signal }: Waiting): Promise<boolean> {
    const { index, written } = this.#deps;
    if (!(await index.hasContent(digest)) || (await this.#isStored(digest))) return false;
    await abortable(written(), signal);
    return (await index.hasContent(digest)) && !(await this.#isStored(digest));
  }

  /** A file that the disk cannot open is told by its check. */
  async #isStored(digest: Digest): Promise<boolean> {
    try {
      await using blob = await this.#deps.store.open(digest);
      return blob !== undefined;
    } catch {
      return true;
    }
  }

  async *#repositories(report: VerifyReport): AsyncIterable<RepositoryId> {
    for (let last: string | undefined, isLast = false; !isLast; ) {
      const names = await this.#deps.index.repositories({ last, limit: pageSize });
      if (names === undefined) return report.indexFailed('repositories');
      yield* names.map(repositoryNamed);
      last = names.at(-1);
      isLast = names.length < pageSize;
    }
  }

  async *#digestsOf(scope: Exclude<VerifyScope, { kind: 'all' }>, report: VerifyReport): AsyncIterable<Digest> {
    const { index } = this.#deps;
    if (scope.kind === 'image') {
      yield* this.#named(scope.digest, report);
      return;
    }
    for (let after: Digest | undefined, isLast = false; !isLast; ) {
      const page = await index.links(scope.repositoryId, { after, limit: pageSize });
      if (page === undefined) return report.indexFailed(repositoryKey(scope.repositoryId));
      yield* page;
      after = page.at(-1);
      isLast = page.length < pageSize;
    }
  }

  /** A manifest, and what is stored of all that it names, each once. */
  async *#named(root: Digest, report: VerifyReport): AsyncIterable<Digest> {
    const seen = new Set([root]);
    for (const digest of seen) {
      const details = await this.#deps.index.details(digest);
      if (details === undefined) return report.indexFailed(digest);
      if (details.content === undefined) continue;
      yield digest;
      for (const name of details.names) if (seen.size < mostOfImage) seen.add(name);
    }
  }
}
