import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Digest } from '../../oci/digest.ts';
import { globMatcher } from '../../oci/reference.ts';
import { type RepositoryId, repositoryKey, repositoryNamed } from '../ports/repository-id.ts';
import type { Catalogue } from '../ports/store-index.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { Purged, PurgedBefore, PurgeTarget } from './purge-removal.ts';
import type { Purge, PurgeRefusal } from './purge.ts';

/** A glob over `<upstream>/<repository>`, or over the tags of these repositories. */
export interface ImageGlob {
  readonly text: string;
  readonly matchesRepository: (name: string) => boolean;
  /** Undefined: the glob is over whole repositories. */
  readonly matchesTag: ((tag: string) => boolean) | undefined;
}

/** Each of these may make a regular expression backtrack. */
const mostWildcards = 8;
const grammar = /^[a-z0-9.:_/*[\]-]+$/;
const tagGrammar = /^[A-Za-z0-9._*-]+$/;

/** Parses globs such as `docker.io/library/*` and `**:*-dev`. @returns undefined if it is none. Pure. */
export function imageGlob(text: string): ImageGlob | undefined {
  const at = text.lastIndexOf(':');
  const hasTag = at > text.lastIndexOf('/');
  const [repositories, tags] = hasTag ? [text.slice(0, at), text.slice(at + 1)] : [text, undefined];
  if (!grammar.test(repositories) || (tags !== undefined && !tagGrammar.test(tags))) return undefined;
  if ((text.match(/\*+/g) ?? []).length > mostWildcards) return undefined;
  return {
    text,
    matchesRepository: globMatcher(repositories),
    matchesTag: tags === undefined ? undefined : globMatcher(tags),
  };
}

/** What is removed of one repository, or would be. */
export interface PurgedRepository extends Purged {
  readonly repositoryId: RepositoryId;
}

export interface NotPurged {
  readonly repositoryId: RepositoryId;
  readonly reason: PurgeRefusal;
}

export interface PurgeByGlobDeps {
  readonly index: Pick<Catalogue, 'repositories'>;
  readonly purge: Pick<Purge, 'plan' | 'run' | 'unfinished'>;
  /** For tests. */
  readonly mostContents?: number;
}

const namesAtOnce = 250;
/** Contents that a plan over many repositories holds in memory: about 25 MB. */
const mostContentsOfPlan = 200_000;

/**
 * Purges what a glob names, one repository after the other in lexical order: other purges get their turn between them, and whoever waits may
 * leave between them.
 */
export class PurgeByGlob {
  readonly #deps: PurgeByGlobDeps;

  constructor(deps: PurgeByGlobDeps) {
    this.#deps = deps;
  }

  /**
   * What would be removed now. Content of several of the repositories is told once: with the last of them, as a purge removes it.
   * @returns what ends the plan: `unreadable`, or `too-many` when it has more contents than are held in memory.
   * @throws the signal's reason when it aborts.
   */
  async *plan(
    glob: ImageGlob,
    waiting: Waiting,
  ): AsyncGenerator<PurgedRepository | NotPurged, PurgeRefusal | undefined> {
    const { purge, mostContents = mostContentsOfPlan } = this.#deps;
    const contents = new Set<Digest>();
    for await (const repositoryId of this.#matching(glob, waiting)) {
      if (repositoryId === 'unreadable') return 'unreadable';
      const found = await purge.plan(targetOf(glob, repositoryId), waiting, goneBefore(glob, repositoryId, contents));
      if (found === 'unknown') continue;
      if (typeof found === 'string') {
        yield { repositoryId, reason: found };
        continue;
      }
      for (const { digest } of found.contents) contents.add(digest);
      if (contents.size > mostContents) return 'too-many';
      yield { repositoryId, ...found };
    }
    return undefined;
  }

  /** Purges. @returns `unreadable` when the index could not tell which repositories are left. @throws the signal's reason when it aborts. */
  async *run(
    glob: ImageGlob,
    waiting: Waiting,
  ): AsyncGenerator<PurgedRepository | NotPurged, PurgeRefusal | undefined> {
    for await (const repositoryId of this.#matching(glob, waiting)) {
      if (repositoryId === 'unreadable') return 'unreadable';
      const found = await this.#deps.purge.run(targetOf(glob, repositoryId), waiting);
      if (found === 'unknown') continue;
      yield typeof found === 'string' ? { repositoryId, reason: found } : { repositoryId, ...found };
    }
    return undefined;
  }

  /** Those that the index names, then those of which only an earlier purge knows that something is left. */
  async *#matching(glob: ImageGlob, { signal }: Waiting): AsyncGenerator<RepositoryId | 'unreadable', void, void> {
    const { matchesRepository } = glob;
    const unfinished = new Set(this.#deps.purge.unfinished(kindOf(glob)).map(repositoryKey));
    for (let last = '', isLast = false; !isLast; ) {
      signal.throwIfAborted();
      const names = await this.#deps.index.repositories({ last, limit: namesAtOnce });
      if (names === undefined) return yield 'unreadable';
      for (const name of names) {
        signal.throwIfAborted();
        if (!matchesRepository(name)) continue;
        unfinished.delete(name);
        yield repositoryNamed(name);
      }
      last = names.at(-1) ?? last;
      isLast = names.length < namesAtOnce;
      await nextTurn();
    }
    for (const name of unfinished) if (matchesRepository(name)) yield repositoryNamed(name);
  }
}

function kindOf({ matchesTag }: ImageGlob): 'repository' | 'tags' {
  return matchesTag === undefined ? 'repository' : 'tags';
}

function targetOf({ matchesTag }: ImageGlob, repositoryId: RepositoryId): PurgeTarget {
  if (matchesTag === undefined) return { kind: 'repository', repositoryId };
  return { kind: 'tags', repositoryId, isWanted: matchesTag };
}

/** A purge of whole repositories leaves nothing of those before; one of tags leaves the links. */
function goneBefore(glob: ImageGlob, repositoryId: RepositoryId, contents: ReadonlySet<Digest>): PurgedBefore {
  const now = repositoryKey(repositoryId);
  const isGone = (one: RepositoryId) => {
    const name = repositoryKey(one);
    return name < now && glob.matchesRepository(name);
  };
  return { contents, isGone: glob.matchesTag === undefined ? isGone : () => false };
}
