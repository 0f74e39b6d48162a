import type { RedisCommands } from '../../cluster/redis/connection.ts';
import { type Script, textIn } from '../../cluster/redis/reply.ts';
import { distinctRecords, type RecordKey } from '../../mirror/ports/record-store.ts';
import { repositoryNamed } from '../../mirror/ports/repository-id.ts';
import type { EvictableContent, EvictableOptions, Link } from '../../mirror/ports/store-index.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import type { Digest } from '../../oci/digest.ts';
import { parseTag } from '../../oci/reference.ts';
import type { WriteBuffer } from '../write-buffer.ts';
import { CatalogueReader } from './catalogue/catalogue-reader.ts';
import { orphanedNames, pageSize, unseenContent, unseenLinks, unseenTags } from './read-scripts.ts';
import { digestOfKey, withoutContent, withoutRecord } from './rows.ts';
import { View } from './view.ts';
import { type FoundRecord, inGroups, recordIn, utf8, ViewReader } from './view-reader.ts';
import { Writer, type WriterDeps } from './writer.ts';

// Operations on many items of the view, in steps. They include buffered writes.

export interface OpenedParts {
  readonly view: View;
  readonly reader: ViewReader;
  readonly lists: CatalogueReader;
  readonly writer: Writer;
}

export type Question<Answer> = (parts: OpenedParts) => Promise<Answer>;

export interface PartsDeps extends Omit<WriterDeps, 'view'> {
  readonly redis: Pick<RedisCommands, 'run'>;
  readonly keyPrefix: string;
  readonly storeId: string;
}

/** The parts that use the view of a store; nothing is asked yet. */
export function openParts(deps: PartsDeps): OpenedParts {
  const view = new View(deps);
  return {
    view,
    reader: new ViewReader({ view }),
    lists: new CatalogueReader({ ...deps, view }),
    writer: new Writer({ ...deps, view }),
  };
}

/** Links that a repository may borrow. Beyond what one script takes, names are written first: once for all queries. */
export async function borrowableOf(
  { reader, writer }: Pick<OpenedParts, 'reader' | 'writer'>,
  pending: WriteBuffer,
  { repositoryId, digest, kind }: Pick<Link, 'repositoryId' | 'digest' | 'kind'>,
): Promise<readonly Link[]> {
  const parents = () => [...pending.parentsOf(digest)];
  if (parents().length > pageSize) await writer.settle();
  return reader.borrowableLinks(repositoryId, digest, { kind, parents: parents() });
}

/** Evictable content after `after`, at most `limit` items. */
export async function evictableOf(
  { reader }: Pick<OpenedParts, 'reader'>,
  pending: WriteBuffer,
  { limit, after }: EvictableOptions,
): Promise<readonly EvictableContent[]> {
  const found: EvictableContent[] = [];
  for (let from = after; found.length < limit; ) {
    const page = await reader.evictable(limit, from);
    found.push(...page.filter(({ digest }) => !pending.isNamed(digest)));
    from = page.at(-1);
    if (page.length === 0) break;
  }
  return found.slice(0, limit);
}

export interface RemovedContent {
  /** The records that refer to it, as far as Redis tells them. */
  readonly keys: readonly RecordKey[];
  /** Whether it is out of the view; otherwise it will be before the next write. */
  readonly isRemoved: boolean;
}

/** Removes a digest. */
export async function removeContent(
  { reader, writer }: OpenedParts,
  pending: WriteBuffer,
  digest: Digest,
): Promise<RemovedContent> {
  const buffered = pending.forget(digest);
  pending.takeBackNames(digest);
  const found: RecordKey[] = [];
  const isRemoved = await writer.first(async () => {
    try {
      for (let isLast = false; !isLast; ) {
        const page = await reader.recordsOfDigest(digest);
        found.push(...page.map(({ key }) => key).filter((key) => key.kind !== 'tag' || !pending.hasTag(key)));
        isLast = page.length < pageSize;
        await writer.remove(rowsWithout(page));
      }
      await writer.remove([withoutContent(digest)]);
      return true;
    } catch {
      writer.removeLater([withoutContent(digest)]);
      return false;
    }
  });
  return { keys: distinctRecords([...buffered, ...found]), isRemoved };
}

/** Removes the links and tags of a repository. @returns their records. */
export async function removeRepository(
  { reader, writer }: OpenedParts,
  pending: WriteBuffer,
  name: string,
): Promise<readonly RecordKey[]> {
  const removed = [...pending.forgetRepository(name)];
  await writer.first(async () => {
    try {
      for (
        let page = await reader.recordsOfRepository(name);
        page.length > 0;
        page = await reader.recordsOfRepository(name)
      ) {
        removed.push(...page.map(({ key }) => key));
        await writer.remove(rowsWithout(page));
      }
    } catch {
      // What was read is removed before the next write.
    }
  });
  return distinctRecords(removed);
}

/**
 * Ends a rebuild: removes what was not found in the store.
 * @throws the signal's reason when it aborts; ViewLost, RedisUnavailable
 */
export async function removeUnseen(
  parts: OpenedParts,
  pending: WriteBuffer,
  { retried, signal }: Waiting & { readonly retried: <Result>(step: () => Promise<Result>) => Promise<Result> },
): Promise<void> {
  const { writer, reader } = parts;
  const sweep = async (script: Script, first: string, remove: (found: Found) => Promise<void>) => {
    for (let after = first, isFirst = true; isFirst || after !== first; isFirst = false) {
      signal.throwIfAborted();
      const from = after;
      const step = async () => {
        const { next, found } = await reader.unseen(script, from);
        await remove(found);
        return next;
      };
      after = await retried(() => writer.first(step));
    }
  };
  await sweep(unseenContent, '0', async (found) => {
    const digests = found.map((key) => digestOfKey(textIn(key)));
    for (const digest of digests) pending.takeBackNames(digest);
    await writer.remove(digests.map((digest) => withoutContent(digest, true)));
  });
  await sweep(unseenLinks, '', async (found) => {
    const records = inGroups(found, 3).map(([kind, key, name]) =>
      recordIn(kind, utf8(name), { digest: digestOfKey(textIn(key)), tag: '' }),
    );
    await writer.remove(rowsWithout(records, true));
  });
  await sweep(unseenTags, '', async (found) => {
    const keys = inGroups(found, 2).map(
      ([name, tag]): RecordKey => ({
        kind: 'tag',
        repositoryId: repositoryNamed(utf8(name)),
        tag: parseTag(utf8(tag)),
      }),
    );
    await writer.remove(keys.flatMap((key) => withoutRecord(key, undefined, true) ?? []));
  });
  await sweep(orphanedNames, '0', async (found) => {
    for (const key of found) pending.unnameLater(digestOfKey(textIn(key)));
  });
}

type Found = Awaited<ReturnType<ViewReader['unseen']>>['found'];

function rowsWithout(records: readonly FoundRecord[], onlyUnseen = false): readonly Buffer[] {
  return records.flatMap(({ key, digest }) => withoutRecord(key, digest, onlyUnseen) ?? []);
}
