import type { Digest } from './digest.ts';
import { OciError } from './errors.ts';

declare const checkedRepository: unique symbol;
/** A repository's name below its registry, such as `library/alpine`, checked. Made only by {@link parseRepository}. */
export type Repository = string & { readonly [checkedRepository]: 'Repository' };

declare const checkedTag: unique symbol;
/** A tag, checked. Made only by {@link parseTag}. */
export type Tag = string & { readonly [checkedTag]: 'Tag' };

/** distribution-spec v1.1.1, "Pulling manifests": `<name>`. Components never begin with `_` or `.`, which the store's layout relies on. */
const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const repositoryGrammar = new RegExp(`^${component}(?:/${component})*$`);
const tagGrammar = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** Many clients refuse more than 255 characters for host and name together (distribution-spec, "Pulling manifests"). */
const maxRepositoryLength = 255;

/** @throws OciError NAME_INVALID */
export function parseRepository(text: string): Repository {
  if (!isRepository(text))
    throw new OciError('NAME_INVALID', 'the repository name is not one the distribution spec allows');
  return text;
}

export function isRepository(text: string): text is Repository {
  return text.length <= maxRepositoryLength && repositoryGrammar.test(text);
}

/** @throws OciError TAG_INVALID */
export function parseTag(text: string): Tag {
  if (!isTag(text)) throw new OciError('TAG_INVALID', 'the tag is not one the distribution spec allows');
  return text;
}

export function isTag(text: string): text is Tag {
  return tagGrammar.test(text);
}

/** A manifest's reference: a digest where the text has a colon, else a tag. */
export type Reference = Digest | Tag;

declare const checkedHostName: unique symbol;
/** The name of a registry as clients write it: a host with an optional port, in lower case. Made only by {@link parseHostName}. */
export type HostName = string & { readonly [checkedHostName]: 'HostName' };

/** RFC 1123 §2.1: labels of ASCII letters, digits and hyphens, 63 at most. Or an IPv6 address in brackets (RFC 3986 §3.2.2). */
const label = '[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?';
const grammar = new RegExp(`^(?:${label}(?:\\.${label})*|\\[[0-9A-Fa-f:.]{2,45}\\])(?::[0-9]{1,5})?$`);
/** Including the port. The store names a folder after it, and a file name has at most 255 bytes. */
const maxLength = 253;

/**
 * Parses a host name into lower case. The grammar is checked first, since lower-casing turns U+212A (the Kelvin sign) into an ASCII `k`.
 * @returns undefined when the text is no host name.
 */
export function parseHostName(text: string): HostName | undefined {
  const lower = text.length <= maxLength && grammar.test(text) ? text.toLowerCase() : '';
  return isHostName(lower) ? lower : undefined;
}

function isHostName(lower: string): lower is HostName {
  return lower !== '';
}

/** A host as names are looked up and addresses are compared: an IPv6 address without the brackets that it has in a URL (RFC 3986 §3.2.2). Pure. */
export function withoutBrackets(host: string): string {
  return host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host;
}

/**
 * Parses a path component as a host name. Some clients allow no colon in a path, so the port may follow an underscore, as in the folder
 * names of containerd's certs.d: `registry.test_8443`, or `registry.test_8443_`.
 * @returns undefined when the component is no host name.
 */
export function hostInPath(component: string): HostName | undefined {
  return parseHostName(component.replace(/^(.*\..*|localhost)_(\d{1,5})_?$/, '$1:$2'));
}

/**
 * A predicate for repository names: `*` stands for anything within one component, `**` for anything at all.
 * `library/*` admits `library/alpine`; `**:latest` admits every repository's `latest`.
 */
export function globMatcher(glob: string): (name: string) => boolean {
  const pattern = glob
    .split('**')
    .map((part) => part.split('*').map(escaped).join('[^/]*'))
    .join('.*');
  const grammar = new RegExp(`^${pattern}$`, 's');
  return (name) => grammar.test(name);
}

/** Whether any of `globs` admits a name. */
export function anyGlobMatcher(globs: readonly string[]): (name: string) => boolean {
  const matchers = globs.map(globMatcher);
  return (name) => matchers.some((matches) => matches(name));
}

function escaped(literal: string): string {
  return literal.replace(/[.+?^${}()|[\]\\]/g, '\\$&');
}
