import { isDigest } from './digest.ts';
import { type HostName, isRepository, isTag, parseHostName, type Reference, type Repository } from './reference.ts';

/** An image as people name it, with what they omit. */
export interface ImageName {
  readonly registry: HostName;
  readonly repository: Repository;
  readonly reference: Reference;
}

/** A name as it is written, in its parts: nothing of them is checked, and nothing is added. */
export interface WrittenName {
  /** With the registry, if it is written. */
  readonly name: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
}

/** Splits `<name>[:<tag>][@<digest>]`: the colon of a port is before the last slash, that of a tag behind it. Pure. */
export function splitImageName(text: string): WrittenName {
  const [, name = '', tag, digest] = /^([^@]*?)(?::([^:/@]+))?(?:@(.*))?$/s.exec(text) ?? [];
  return { name, tag, digest };
}

/** `docker pull` knows Docker Hub by these names as well. */
const hubNames: ReadonlySet<string> = new Set(['index.docker.io', 'registry-1.docker.io']);

/**
 * Parses the name of an image as `docker pull` does: without a registry it is of docker.io, whatever the mirror's default upstream is;
 * docker.io has its official images under `library/`; without a tag or digest it is `latest`. With both, the digest counts.
 * Source: github.com/distribution/reference, "ParseDockerRef".
 * @returns what is wrong with it, if it is no name. Pure.
 */
export function parseImageName(text: string): ImageName | string {
  const { name, tag, digest } = splitImageName(text);
  const { host, path } = splitName(name);
  const registry = parseHostName(hubNames.has(host) ? 'docker.io' : host);
  if (registry === undefined) return `"${host}" is no name of a registry`;
  const repository = registry === 'docker.io' && !path.includes('/') ? `library/${path}` : path;
  if (!isRepository(repository)) return `"${path}" is no name of a repository`;
  const reference = referenceIn(tag, digest);
  return typeof reference === 'object' ? reference.problem : { registry, repository, reference };
}

/** By Docker's rule: the first component is a registry if it has a dot or a port, or is `localhost`. */
function splitName(name: string): { readonly host: string; readonly path: string } {
  const slash = name.indexOf('/');
  const first = name.slice(0, Math.max(0, slash));
  return /[.:]|^localhost$/.test(first)
    ? { host: first, path: name.slice(slash + 1) }
    : { host: 'docker.io', path: name };
}

function referenceIn(tag: string | undefined, digest: string | undefined): Reference | { readonly problem: string } {
  if (digest !== undefined) return isDigest(digest) ? digest : { problem: `"${digest}" is no digest` };
  const named = tag ?? 'latest';
  return isTag(named) ? named : { problem: `"${named}" is no tag` };
}

/** `docker.io/library/nginx:1.27`. Pure. */
export function imageText({ registry, repository, reference }: ImageName): string {
  return `${registry}/${repository}${isDigest(reference) ? '@' : ':'}${reference}`;
}
