import type { RepositoryId } from '../../../mirror/ports/repository-id.ts';
import { repositoryKey } from '../../../mirror/ports/repository-id.ts';
import { isDigest } from '../../../oci/digest.ts';
import { splitImageName } from '../../../oci/image-name.ts';
import { hostInPath, isRepository, isTag, type Reference } from '../../../oci/reference.ts';

/** What a page is about: a repository, or an image of it. */
export interface Named {
  readonly repositoryId: RepositoryId;
  readonly reference: Reference | undefined;
}

/** Parses `docker.io/library/nginx`, with `:1.27` or `@sha256:…`: a full name, as pages write it. @returns undefined if it is none. Pure. */
export function parseNamed(text: string): Named | undefined {
  const { name, tag, digest } = splitImageName(text);
  const slash = name.indexOf('/');
  const repository = name.slice(slash + 1);
  const upstream = slash > 0 ? hostInPath(name.slice(0, slash)) : undefined;
  if (upstream === undefined || !isRepository(repository)) return undefined;
  const repositoryId = { upstream, repository };
  if (digest !== undefined) return isDigest(digest) ? { repositoryId, reference: digest } : undefined;
  if (tag !== undefined) return isTag(tag) ? { repositoryId, reference: tag } : undefined;
  return { repositoryId, reference: undefined };
}

/** The opposite. Pure. */
export function namedText({ repositoryId, reference }: Named): string {
  const name = repositoryKey(repositoryId);
  if (reference === undefined) return name;
  return `${name}${isDigest(reference) ? '@' : ':'}${reference}`;
}

/** As part of a path: slashes and colons stay, since people read it. Pure. */
export function inPath(text: string): string {
  return encodeURIComponent(text).replaceAll('%2F', '/').replaceAll('%3A', ':').replaceAll('%40', '@');
}

/** As part of the name of an image, whose host has no colon before a port there. Pure. */
export function inImageName(text: string): string {
  const slash = text.indexOf('/');
  return `${text.slice(0, slash).replace(/:(\d+)$/, '_$1')}${text.slice(slash)}`;
}
