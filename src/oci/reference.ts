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
