import type { RecordKey } from '../../src/mirror/ports/record-store.ts';
import type { RepositoryId } from '../../src/mirror/ports/repository-id.ts';
import type {
  EvictableContent,
  EvictionPosition,
  Index,
  IndexedContent,
  Link,
  StaleRepository,
  Totals,
} from '../../src/mirror/ports/store-index.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { anyGlobMatcher, type Tag } from '../../src/oci/reference.ts';

const nameOf = ({ upstream, repository }: RepositoryId) => `${upstream}/${repository}`;

/** By last use, then by digest. */
function turnOf(one: EvictionPosition, other: EvictionPosition): number {
  return one.usedAtMs - other.usedAtMs || one.digest.localeCompare(other.digest);
}

/** An Index in memory, for tests of what stands above it. */
export class MemoryIndex implements Index {
  readonly contents = new Map<Digest, IndexedContent>();
  readonly links: Link[] = [];
  /** False while a rebuild is under way. */
  isRebuilt = true;
  readonly tags = new Map<string, { repositoryId: RepositoryId; tag: Tag; digest: Digest }>();
  readonly repositoryUses = new Map<string, number>();
  readonly #isKeptName: (name: string) => boolean;

  constructor({ keep = [] }: { keep?: readonly string[] } = {}) {
    this.#isKeptName = anyGlobMatcher(keep);
  }

  recordContent(content: IndexedContent): void {
    this.contents.set(content.digest, content);
  }

  recordUse(digest: Digest, atMs: number): void {
    const content = this.contents.get(digest);
    if (content) this.contents.set(digest, { ...content, usedAtMs: atMs });
  }

  recordRepositoryUse(repositoryId: RepositoryId, atMs: number): void {
    this.repositoryUses.set(nameOf(repositoryId), atMs);
  }

  recordLink(link: Link): void {
    this.links.push(link);
  }

  recordTag(repositoryId: RepositoryId, tag: Tag, digest: Digest): void {
    this.tags.set(`${nameOf(repositoryId)}:${tag}`, { repositoryId, tag, digest });
  }

  forgetTag(repositoryId: RepositoryId, tag: Tag): void {
    this.tags.delete(`${nameOf(repositoryId)}:${tag}`);
  }

  async borrowableLinks(repositoryId: RepositoryId, digest: Digest, kind: Link['kind']): Promise<readonly Link[]> {
    const isNamed = this.links.some(
      (link) =>
        nameOf(link.repositoryId) === nameOf(repositoryId) && this.contents.get(link.digest)?.names.includes(digest),
    );
    const isMatching = (link: Link) =>
      link.repositoryId.upstream === repositoryId.upstream && link.digest === digest && link.kind === kind;
    return isNamed ? this.links.filter(isMatching).slice(0, 16) : [];
  }

  async hasContent(digest: Digest): Promise<boolean> {
    return this.contents.has(digest);
  }

  async repositories({ last, limit }: { last: string | undefined; limit: number }): Promise<readonly string[]> {
    const names = [...new Set(this.links.map((link) => nameOf(link.repositoryId)))].sort();
    return names.filter((name) => last === undefined || name > last).slice(0, limit);
  }

  async totals(): Promise<Totals> {
    const all = [...this.contents.values()];
    const manifests = all.filter((content) => content.isManifest);
    const bytesOf = (contents: readonly IndexedContent[]) => contents.reduce((sum, { size }) => sum + size, 0);
    const keptBytes = bytesOf(all.filter(({ digest }) => this.#isKept(digest)));
    const bytes = bytesOf(all);
    const counts = { manifests: manifests.length, blobs: all.length - manifests.length };
    return { bytes, manifestBytes: bytesOf(manifests), diskBytes: bytes, records: 0, keptBytes, ...counts };
  }

  async evictable({
    limit,
    after,
  }: {
    limit: number;
    after?: EvictionPosition | undefined;
  }): Promise<readonly EvictableContent[]> {
    const named = new Set([...this.contents.values()].flatMap(({ names }) => names));
    return [...this.contents.values()]
      .filter(
        (content) =>
          !named.has(content.digest) &&
          !this.#isKept(content.digest) &&
          (after === undefined || turnOf(content, after) > 0),
      )
      .sort(turnOf)
      .slice(0, limit)
      .map((content) => ({ ...content, diskBytes: content.size }));
  }

  async forget(digest: Digest): Promise<readonly RecordKey[]> {
    this.contents.delete(digest);
    const gone = this.links.filter((link) => link.digest === digest);
    this.links.splice(0, this.links.length, ...this.links.filter((link) => link.digest !== digest));
    const tags = [...this.tags.values()].filter((tag) => tag.digest === digest);
    for (const { repositoryId, tag } of tags) this.forgetTag(repositoryId, tag);
    return [
      ...gone.map(({ repositoryId, kind }): RecordKey => ({ kind, repositoryId, digest })),
      ...tags.map(({ repositoryId, tag }): RecordKey => ({ kind: 'tag', repositoryId, tag })),
    ];
  }

  async stalestRepository(skip = 0): Promise<StaleRepository | undefined> {
    const usedAtMs = ({ repositoryId, digest, usedAtMs: ownUse }: Link) =>
      Math.max(this.repositoryUses.get(nameOf(repositoryId)) ?? 0, ownUse ?? this.contents.get(digest)?.usedAtMs ?? 0);
    const found = new Map<string, StaleRepository>();
    for (const link of this.links.filter(({ repositoryId }) => !this.#isKeptName(nameOf(repositoryId)))) {
      const before = found.get(nameOf(link.repositoryId))?.usedAtMs ?? 0;
      found.set(nameOf(link.repositoryId), {
        repositoryId: link.repositoryId,
        usedAtMs: Math.max(before, usedAtMs(link)),
      });
    }
    return [...found.values()].sort((one, other) => one.usedAtMs - other.usedAtMs)[skip];
  }

  async forgetRepository(repository: RepositoryId): Promise<readonly RecordKey[]> {
    const isItsOwn = ({ repositoryId }: { readonly repositoryId: RepositoryId }) =>
      nameOf(repositoryId) === nameOf(repository);
    const gone = this.links.filter(isItsOwn);
    this.links.splice(0, this.links.length, ...this.links.filter((link) => !isItsOwn(link)));
    const tags = [...this.tags.values()].filter(isItsOwn);
    for (const { repositoryId, tag } of tags) this.forgetTag(repositoryId, tag);
    return [
      ...gone.map(({ repositoryId, kind, digest }): RecordKey => ({ kind, repositoryId, digest })),
      ...tags.map(({ repositoryId, tag }): RecordKey => ({ kind: 'tag', repositoryId, tag })),
    ];
  }

  #isKept(digest: Digest): boolean {
    return this.links.some((link) => link.digest === digest && this.#isKeptName(nameOf(link.repositoryId)));
  }

  async isNeeded(key: RecordKey): Promise<boolean> {
    const has = (digest: Digest | undefined) => digest !== undefined && this.contents.has(digest);
    if (key.kind === 'tag') return has(this.tags.get(`${nameOf(key.repositoryId)}:${key.tag}`)?.digest);
    if ('digest' in key) return has(key.digest);
    return this.links.some((link) => nameOf(link.repositoryId) === nameOf(key.repositoryId) && has(link.digest));
  }

  async fileBytes(): Promise<number> {
    return 0;
  }

  async isCounted(): Promise<boolean> {
    return true;
  }

  async knowsEvictable(): Promise<boolean> {
    return this.isRebuilt;
  }

  async isComplete(): Promise<boolean> {
    return this.isRebuilt;
  }

  async watchingSinceMs(): Promise<number> {
    return 0;
  }

  async whenComplete(): Promise<void> {}
}
