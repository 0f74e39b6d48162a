import { listIn, numberIn, type Reply, type Script, textIn } from '../../cluster/redis/reply.ts';
import { bytesOnDisk, type RecordKey } from '../../mirror/ports/record-store.ts';
import { type RepositoryId, repositoryKey, repositoryNamed } from '../../mirror/ports/repository-id.ts';
import type {
  ContentDetails,
  EvictableContent,
  EvictionPosition,
  IndexedTag,
  Link,
  LinkPage,
  StaleRepository,
  TagPage,
} from '../../mirror/ports/store-index.ts';
import type { Digest } from '../../oci/digest.ts';
import { mediaTypeIn } from '../../oci/media-types.ts';
import { parseTag } from '../../oci/reference.ts';
import type { NextEvicted } from './eviction-window.ts';
import * as catalogue from './catalogue-scripts.ts';
import * as scripts from './read-scripts.ts';
import { digestKey, digestOfKey, kindKey } from './rows.ts';
import type { View } from './view.ts';

/** A record, and for a tag the digest that it points at. */
export interface FoundRecord {
  readonly key: RecordKey;
  readonly digest: Digest;
}

/** Queries of the view. Each script reads a bounded number of items. All throw ViewLost and RedisUnavailable. */
export class ViewReader {
  readonly #view: Pick<View, 'read' | 'rebuild'>;

  constructor({ view }: { readonly view: Pick<View, 'read' | 'rebuild'> }) {
    this.#view = view;
  }

  /** @param parents manifests that name the digest and are not in the view yet. */
  async borrowableLinks(
    repositoryId: RepositoryId,
    digest: Digest,
    { kind, parents }: { readonly kind: Link['kind']; readonly parents: readonly Digest[] },
  ): Promise<readonly Link[]> {
    const ask = (isNamed: '0' | '1', some: readonly Digest[] = []) =>
      this.#view.read(scripts.borrowableLinks, [
        repositoryKey(repositoryId),
        digestKey(digest),
        kindKey(kind),
        isNamed,
        ...some.map(digestKey),
      ]);
    let [outcome, ...found] = await ask('0', parents.slice(0, scripts.pageSize));
    for (let from = scripts.pageSize; from < parents.length && numberIn(outcome) !== 1; from += scripts.pageSize)
      [outcome, ...found] = await ask('0', parents.slice(from, from + scripts.pageSize));
    if (numberIn(outcome) === 2 && (await this.#isNamedIn(repositoryId, digest))) [outcome, ...found] = await ask('1');
    return inGroups(found, 3).map(([name, size, mediaType]) => ({
      repositoryId: repositoryNamed(utf8(name)),
      kind,
      digest,
      mediaType: mediaTypeIn(utf8(mediaType)),
      size: numberIn(size) === 0 ? undefined : numberIn(size) - 1,
    }));
  }

  async hasContent(digest: Digest): Promise<boolean> {
    return this.#isTrue(scripts.hasContent, [digestKey(digest)]);
  }

  async repositories(last: string | undefined, limit: number): Promise<readonly string[]> {
    const found: string[] = [];
    for (let after = last ?? ''; found.length < limit; ) {
      const page = await this.#view.read(scripts.linkedRepositories, [after, Math.min(limit, catalogPage)]);
      const looked = inGroups(page, 2).map(([name, stored]) => ({ name: utf8(name), stored: numberIn(stored) }));
      const areStored = await Promise.all(
        looked.map(async ({ name, stored }) => (stored === 2 ? this.#hasStored(name) : stored === 1)),
      );
      found.push(...looked.filter((_, at) => areStored[at]).map(({ name }) => name));
      after = looked.at(-1)?.name ?? '';
      if (looked.length < Math.min(limit, catalogPage)) break;
    }
    return found.slice(0, limit);
  }

  async tags(repositoryId: RepositoryId, { after, limit }: TagPage): Promise<readonly IndexedTag[]> {
    const found: IndexedTag[] = [];
    while (found.length < limit) {
      const wanted = Math.min(limit - found.length, scripts.pageSize);
      const last = found.at(-1)?.tag ?? after ?? '';
      const page = inGroups(await this.#view.read(catalogue.tagsAfter, [repositoryKey(repositoryId), last, wanted]), 3);
      found.push(...page.map(tagIn));
      if (page.length < wanted) break;
    }
    return found;
  }

  /** Blobs, then manifests: the position is that of a link. */
  async links(repositoryId: RepositoryId, { after, limit }: LinkPage): Promise<readonly Digest[]> {
    const ask = async (kind: Link['kind']) => {
      const found: Digest[] = [];
      for (let last = after; found.length < limit; last = found.at(-1)) {
        const wanted = Math.min(limit - found.length, scripts.pageSize);
        const position = last === undefined ? '' : digestKey(last);
        const args = [repositoryKey(repositoryId), kindKey(kind), position, wanted];
        const page = await this.#view.read(catalogue.linksAfter, args);
        found.push(...page.map((key) => digestOfKey(textIn(key))));
        if (page.length < wanted) break;
      }
      return found;
    };
    const all = new Set([...(await ask('blob')), ...(await ask('manifest'))]);
    return [...all].toSorted().slice(0, limit);
  }

  async details(digest: Digest): Promise<ContentDetails> {
    const reply = await this.#view.read(catalogue.detailsOfDigest, [digestKey(digest)]);
    const [row, links, tags, parents, children] = reply.map(listIn);
    const digestsIn = (keys: readonly Reply[] = []) => keys.map((key) => digestOfKey(textIn(key)));
    const [size, manifest, usedAtMs] = row ?? [];
    return {
      content:
        size === undefined
          ? undefined
          : { size: numberIn(size), isManifest: numberIn(manifest) === 1, usedAtMs: numberIn(usedAtMs) },
      linkedBy: (links ?? []).map((name) => repositoryNamed(utf8(name))),
      tags: inGroups(tags ?? [], 2).map(([name, tag]) => ({
        repositoryId: repositoryNamed(utf8(name)),
        tag: parseTag(utf8(tag)),
      })),
      namedBy: digestsIn(parents),
      names: digestsIn(children),
    };
  }

  async isNeeded(key: RecordKey): Promise<boolean> {
    const name = repositoryKey(key.repositoryId);
    switch (key.kind) {
      case 'tag':
        return this.#isTrue(scripts.isTagNeeded, [name, key.tag]);
      case 'tag-list':
      case 'visibility':
        return this.#hasStored(name);
      case 'referrers':
        return this.#isTrue(scripts.isLinkedToStored, [name, digestKey(key.digest)]);
      case 'manifest':
      case 'blob':
        return this.hasContent(key.digest);
    }
  }

  async stalestRepository(skip: number): Promise<StaleRepository | undefined> {
    const [name, usedAtMs] = await this.#view.read(scripts.stalestRepository, [skip]);
    return name === '' ? undefined : { repositoryId: repositoryNamed(utf8(name)), usedAtMs: numberIn(usedAtMs) };
  }

  async evictable(limit: number, after: EvictionPosition | undefined): Promise<readonly EvictableContent[]> {
    const position = after ? [after.usedAtMs, digestKey(after.digest)] : [-1, ''];
    const found = await this.#view.read(scripts.evictableContent, [...position, Math.min(limit, scripts.pageSize)]);
    return inGroups(found, 4).map(contentIn);
  }

  /** What is evicted next, and what becomes evictable with it, at most `limit`. */
  async evictedNext(limit: number): Promise<readonly NextEvicted[]> {
    const found = await this.#view.read(scripts.evictedNext, [limit]);
    return inGroups(found, 5).map(([under, ...content]) => ({
      ...contentIn(content),
      under: under === '' ? undefined : digestOfKey(textIn(under)),
    }));
  }

  /** Some of the records that refer to a digest; fewer than a page when there are no more. */
  async recordsOfDigest(digest: Digest): Promise<readonly FoundRecord[]> {
    const found = await this.#view.read(scripts.recordsOfDigest, [digestKey(digest)]);
    return inGroups(found, 3).map(([kind, name, tag]) => recordIn(kind, utf8(name), { digest, tag }));
  }

  /** Some of the records of a repository; none when no more are left. */
  async recordsOfRepository(name: string): Promise<readonly FoundRecord[]> {
    const found = await this.#view.read(scripts.recordsOfRepository, [name]);
    return inGroups(found, 3).map(([kind, key, tag]) =>
      recordIn(kind, name, { digest: digestOfKey(textIn(key)), tag }),
    );
  }

  /** The next items that the last rebuild did not find, and the position after them; undefined at the end. */
  async unseen(script: Script, after: string): Promise<{ readonly next: string; readonly found: readonly Reply[] }> {
    const [next, ...found] = await this.#view.read(script, [this.#view.rebuild, Buffer.from(after, 'latin1')]);
    return { next: textIn(next), found };
  }

  async #hasStored(name: string): Promise<boolean> {
    for (let after = ''; ; ) {
      const [isStored, next] = await this.#view.read(scripts.hasStored, [name, Buffer.from(after, 'latin1')]);
      if (numberIn(isStored) === 1) return true;
      after = textIn(next);
      if (after === '') return false;
    }
  }

  async #isNamedIn(repositoryId: RepositoryId, digest: Digest): Promise<boolean> {
    for (let after = ''; ; ) {
      const args = [repositoryKey(repositoryId), digestKey(digest), Buffer.from(after, 'latin1')];
      const [isNamed, next] = await this.#view.read(scripts.namedInRepository, args);
      if (numberIn(isNamed) === 1) return true;
      after = textIn(next);
      if (after === '') return false;
    }
  }

  async #isTrue(script: Script, args: readonly (string | Buffer)[]): Promise<boolean> {
    const [answer] = await this.#view.read(script, args);
    return numberIn(answer) === 1;
  }
}

function contentIn([digest, usedAtMs, size, manifest]: readonly Reply[]): EvictableContent {
  return {
    digest: digestOfKey(textIn(digest)),
    size: numberIn(size),
    diskBytes: bytesOnDisk(numberIn(size)),
    isManifest: numberIn(manifest) === 1,
    usedAtMs: numberIn(usedAtMs),
  };
}

function tagIn([tag, digest, stored]: readonly Reply[]): IndexedTag {
  return { tag: parseTag(utf8(tag)), digest: digestOfKey(textIn(digest)), isStored: numberIn(stored) === 1 };
}

/** Repositories that are looked at together. */
const catalogPage = 200;

export function recordIn(
  kind: Reply | undefined,
  name: string,
  { digest, tag }: { readonly digest: Digest; readonly tag: Reply | undefined },
): FoundRecord {
  const repositoryId = repositoryNamed(name);
  if (kind === 't') return { digest, key: { kind: 'tag', repositoryId, tag: parseTag(utf8(tag)) } };
  return { digest, key: { kind: kind === 'm' ? 'manifest' : 'blob', repositoryId, digest } };
}

/** A text of a reply that has a character for each byte. */
export function utf8(reply: Reply | undefined): string {
  return Buffer.from(textIn(reply), 'latin1').toString();
}

export function inGroups(items: readonly Reply[], size: number): readonly (readonly Reply[])[] {
  return Array.from({ length: items.length / size }, (_, group) => items.slice(group * size, (group + 1) * size));
}
