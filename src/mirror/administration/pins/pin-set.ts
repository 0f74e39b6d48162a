import { type Digest, isDigest } from '../../../oci/digest.ts';
import { splitImageName } from '../../../oci/image-name.ts';
import { isRepository, isTag, parseHostName } from '../../../oci/reference.ts';
import { type ImageGlob, imageGlob } from '../purge-by-glob.ts';

/**
 * What is pinned: repositories by their name or a glob (`docker.io/library/*`), tags of them (`docker.io/library/nginx:1.27`, `**:stable`), or one
 * digest of a repository (`docker.io/library/nginx@sha256:…`). An image is pinned with all that it names.
 */
export interface Pin {
  /** As operators write it. */
  readonly text: string;
  readonly names: ImageGlob;
  /** Undefined: the tags or repositories that `names` says. */
  readonly digest: Digest | undefined;
  /** Whether it names one repository, and one tag or digest of it if any. */
  readonly isLiteral: boolean;
}

/** @returns undefined if the text is no pin. Pure. */
export function parsePin(text: string): Pin | undefined {
  const at = text.indexOf('@');
  const [name, digest] = at === -1 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
  if (digest !== undefined && !isDigest(digest)) return undefined;
  const names = imageGlob(name);
  const isLiteral = !name.includes('*');
  if (names === undefined || (digest !== undefined && (!isLiteral || names.matchesTag !== undefined))) return undefined;
  return !isLiteral || isFullName(name) ? { text, names, digest, isLiteral } : undefined;
}

function isFullName(name: string): boolean {
  const { name: repository, tag } = splitImageName(name);
  const slash = repository.indexOf('/');
  if (slash <= 0 || parseHostName(repository.slice(0, slash)) === undefined) return false;
  return isRepository(repository.slice(slash + 1)) && (tag === undefined || isTag(tag));
}

/** Answers which names pins mean. Those without `*` cost one look, however many they are. */
export class PinSet {
  readonly #digests = new Set<string>();
  /** Repositories, and tags as `<repository>:<tag>`. */
  readonly #literals = new Set<string>();
  /** Repositories that a pin without `*` is about. */
  readonly #repositories = new Set<string>();
  readonly #globs: ImageGlob[] = [];
  /** Whether it is enough to know digests. */
  readonly hasNames: boolean;
  readonly isEmpty: boolean;

  constructor(pins: Iterable<Pin>) {
    const all = [...pins];
    for (const { text, names, digest, isLiteral } of all) {
      if (!isLiteral) this.#globs.push(names);
      else this.#repositories.add(repositoryOf(names.text, names.matchesTag !== undefined));
      if (digest !== undefined) this.#digests.add(digest);
      else if (isLiteral) this.#literals.add(text);
    }
    this.isEmpty = all.length === 0;
    this.hasNames = this.#globs.length + this.#literals.size > 0;
  }

  hasDigest(digest: Digest): boolean {
    return this.#digests.has(digest);
  }

  /** Whether all of a repository is pinned. */
  hasRepository(name: string): boolean {
    if (this.#literals.has(name)) return true;
    return this.#globs.some(({ matchesRepository, matchesTag }) => matchesTag === undefined && matchesRepository(name));
  }

  hasTag(name: string, tag: string): boolean {
    if (this.#literals.has(`${name}:${tag}`)) return true;
    return this.#globs.some(({ matchesRepository, matchesTag }) => matchesTag?.(tag) && matchesRepository(name));
  }

  /** Whether some or all of a repository is pinned. */
  isAbout(name: string): boolean {
    return this.#repositories.has(name) || this.#globs.some(({ matchesRepository }) => matchesRepository(name));
  }
}

function repositoryOf(name: string, hasTag: boolean): string {
  return hasTag ? name.slice(0, name.lastIndexOf(':')) : name;
}
