import type {
  GlobPurgeAnswer,
  PurgeAdministration,
  PurgeAnswer,
  PurgeOptions,
} from '../../http/management/api/content/purge-routes.ts';
import { Problem } from '../../http/management/problems.ts';
import { type ImageGlob, PurgeByGlob } from '../../mirror/administration/purge-by-glob.ts';
import type { Purged, PurgeLeft, PurgeTarget } from '../../mirror/administration/purge-removal.ts';
import type { Purge, PurgeRefusal } from '../../mirror/administration/purge.ts';
import { repositoryKey } from '../../mirror/ports/repository-id.ts';
import type { Catalogue } from '../../mirror/ports/store-index.ts';

export interface ProcessPurgesDeps {
  readonly purge: Purge;
  readonly index: Pick<Catalogue, 'repositories'>;
}

/** Tags, digests or repositories of one answer. */
const mostListed = 1_000;

/** The purges of this process. */
export class ProcessPurges implements PurgeAdministration {
  readonly #purge: Purge;
  readonly #byGlob: PurgeByGlob;

  constructor(deps: ProcessPurgesDeps) {
    this.#purge = deps.purge;
    this.#byGlob = new PurgeByGlob(deps);
  }

  async purge(target: PurgeTarget, { dryRun, signal }: PurgeOptions): Promise<PurgeAnswer> {
    const name = repositoryKey(target.repositoryId);
    const wanted = `${name}${suffixOf(target)}`;
    const found = await (dryRun ? this.#purge.plan(target, { signal }) : this.#purge.run(target, { signal }));
    if (typeof found === 'string') throw new Problem(refusals[found].kind, refusals[found].detail(wanted));
    const answer = {
      removed: countsOf(found),
      kept: found.kept,
      tags: found.tags.slice(0, mostListed),
      digests: found.contents.slice(0, mostListed).map(({ digest }) => digest),
    };
    if (found.left) throw unfinished(found, found.left, { repository: name, ...answer });
    return { dryRun, repository: name, ...answer };
  }

  async purgeByGlob(glob: ImageGlob, { dryRun, signal }: PurgeOptions): Promise<GlobPurgeAnswer> {
    const answer = { repositories: 0, removed: { tags: 0, manifests: 0, blobs: 0, bytes: 0 }, refused: 0 };
    const items: GlobPurgeAnswer['items'] = [];
    const refused: GlobPurgeAnswer['refusals'] = [];
    const purging = dryRun ? this.#byGlob.plan(glob, { signal }) : this.#byGlob.run(glob, { signal });
    for (let step = await purging.next(); ; step = await purging.next()) {
      if (step.done) {
        if (step.value !== undefined) throw endedBy(step.value, glob, answer.repositories);
        return { dryRun, glob: glob.text, ...answer, items, refusals: refused };
      }
      const repository = repositoryKey(step.value.repositoryId);
      answer.repositories += 1;
      if ('reason' in step.value) {
        const reason = refusals[step.value.reason].detail(repository);
        answer.refused += 1;
        if (refused.length < mostListed) refused.push({ repository, reason });
        continue;
      }
      const removed = countsOf(step.value);
      answer.removed = sumOf(answer.removed, removed);
      if (step.value.left) {
        answer.refused += 1;
        if (refused.length < mostListed)
          refused.push({ repository, reason: unfinishedText(step.value, step.value.left) });
        continue;
      }
      if (items.length < mostListed) items.push({ repository, removed });
    }
  }
}

function suffixOf(target: PurgeTarget): string {
  if (target.kind === 'tag') return `:${target.tag}`;
  return target.kind === 'digest' ? `@${target.digest}` : '';
}

type Counts = PurgeAnswer['removed'];

function countsOf({ tags, contents }: Purged): Counts {
  const manifests = contents.filter(({ isManifest }) => isManifest).length;
  const bytes = contents.reduce((sum, { size }) => sum + size, 0);
  return { tags: tags.length, manifests, blobs: contents.length - manifests, bytes };
}

/** Of a purge that has removed some of what it was to remove. */
function unfinished(purged: Purged, left: PurgeLeft, members: Readonly<Record<string, unknown>>): Problem {
  const notRemoved = { tags: left.tags.slice(0, mostListed), digests: left.contents.slice(0, mostListed) };
  return new Problem('unavailable', unfinishedText(purged, left), { members: { ...members, notRemoved } });
}

function unfinishedText(purged: Purged, { tags, contents }: PurgeLeft): string {
  const removed = `${purged.tags.length} tags and ${purged.contents.length} contents are removed`;
  const left = `${tags.length} tags and ${contents.length} contents are not`;
  const reason = 'the disk or the index did not let them go (the log has the reason), and they may still be served';
  return `${removed}, ${left}: ${reason}. Purge it again to remove them; after a restart, purge each tag and digest that is left, or the repository`;
}

function sumOf(one: Counts, other: Counts): Counts {
  return {
    tags: one.tags + other.tags,
    manifests: one.manifests + other.manifests,
    blobs: one.blobs + other.blobs,
    bytes: one.bytes + other.bytes,
  };
}

function endedBy(reason: PurgeRefusal, { text }: ImageGlob, repositories: number): Problem {
  if (reason === 'too-many')
    return new Problem('refused', `${text} names more contents than a dry run counts; name fewer repositories`);
  return new Problem('unavailable', `the index cannot be read now; ${repositories} repositories were done before`);
}

const refusals: Readonly<
  Record<
    PurgeRefusal,
    { readonly kind: 'not-found' | 'unavailable' | 'refused'; readonly detail: (name: string) => string }
  >
> = {
  unknown: { kind: 'not-found', detail: (name) => `${name} is not cached` },
  unreadable: {
    kind: 'unavailable',
    detail: () =>
      'the index cannot tell now what is needed: it is being rebuilt (isIndexComplete in stats), or its disk is full or fails (the log)',
  },
  'too-many': {
    kind: 'refused',
    detail: (name) => `${name} has more tags or contents than one purge removes; name a tag`,
  },
};
