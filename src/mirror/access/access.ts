import { OciError } from '../../oci/errors.ts';
import { anyGlobMatcher } from '../../oci/glob.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { Visibility, VisibilityQuestion } from './visibility.ts';

/** Which repositories of one upstream are served at all, and to whom. Globs on the repository's name. */
export interface AccessRules {
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  readonly visibility: VisibilityRules;
}

/** What of an upstream every client may read. */
export type VisibilityRules =
  /** All of it: nothing was fetched in anybody's name, or whatever the mirror's accounts can read is meant for the clients. */
  | { readonly kind: 'open' }
  /** What an anonymous caller may read upstream; what these globs admit is not asked about. */
  | { readonly kind: 'public'; readonly publicRepositories: readonly string[] };

/** Asked before every cache, for manifests, blobs, tags and referrers alike. */
export interface Access {
  /**
   * @throws OciError DENIED when the rules say no; NAME_UNKNOWN, as for what does not exist, where the client may not know of it;
   * UpstreamError when nobody can tell.
   */
  check(question: VisibilityQuestion, waiting: Waiting): Promise<void> | void;
  /**
   * Asked before an upstream is: an account of the mirror may read what clients may not read any more.
   * @throws as {@link check}.
   */
  checkBeforeAsking(question: VisibilityQuestion, waiting: Waiting): Promise<void> | void;
  /** Whether others may borrow links from it: every client may read it now. No upstream is asked. */
  mayLend(of: RepositoryId, label: string): Promise<boolean> | boolean;
  /** Whether a list of what is cached may name it. No upstream is asked. */
  mayBeListed(of: RepositoryId, label: string): Promise<boolean>;
}

export interface AccessDeps {
  /** By the upstream's label. */
  readonly rulesOf: ReadonlyMap<string, AccessRules>;
  readonly visibility: Pick<Visibility, 'check' | 'checkBeforeAsking' | 'isPublicNow' | 'isKnownPublic'>;
}

/** Access by allow and deny globs, deny wins, and then by who may read the repository. */
export function createAccess({ rulesOf, visibility }: AccessDeps): Access {
  const gates = new Map([...rulesOf].map(([label, rules]) => [label, gateOf(rules)]));
  /** @throws OciError DENIED */
  const isOpen = ({ upstream, of: { repository } }: VisibilityQuestion): boolean => {
    const gate = gates.get(upstream.label);
    if (!gate?.admits(repository)) throw new OciError('DENIED', 'this mirror does not serve that repository');
    return gate.isOpen(repository);
  };
  return {
    check: (question, waiting) => (isOpen(question) ? undefined : visibility.check(question, waiting)),
    checkBeforeAsking: (question, waiting) =>
      isOpen(question) ? undefined : visibility.checkBeforeAsking(question, waiting),
    mayLend(of, label) {
      const gate = gates.get(label);
      if (!gate?.admits(of.repository)) return false;
      return gate.isOpen(of.repository) || visibility.isPublicNow(of, label);
    },
    async mayBeListed(of, label) {
      const gate = gates.get(label);
      if (!gate?.admits(of.repository)) return false;
      return gate.isOpen(of.repository) || visibility.isKnownPublic(of);
    },
  };
}

interface Gate {
  readonly admits: (repository: string) => boolean;
  /** Whether every client may read it, without asking anybody. */
  readonly isOpen: (repository: string) => boolean;
}

function gateOf({ allow, deny, visibility }: AccessRules): Gate {
  const isAllowed = anyGlobMatcher(allow);
  const isDenied = anyGlobMatcher(deny);
  return {
    admits: (repository) => isAllowed(repository) && !isDenied(repository),
    isOpen: openRepositories(visibility),
  };
}

function openRepositories(visibility: VisibilityRules): (repository: string) => boolean {
  switch (visibility.kind) {
    case 'open':
      return () => true;
    case 'public':
      return anyGlobMatcher(visibility.publicRepositories);
  }
}
