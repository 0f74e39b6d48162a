import { OciError } from '../../oci/errors.ts';
import { anyGlobMatcher } from '../../oci/reference.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { Visibility, VisibilityQuestion } from './visibility.ts';

/** Which repositories of one upstream are served. Globs on the repository's name. */
export interface AccessRules {
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  readonly visibility: VisibilityRules;
}

/** What every client may read of an upstream. */
export type VisibilityRules =
  /** Everything: the mirror has no account there, or all that its accounts can read is meant for the clients. */
  | { readonly kind: 'open' }
  /** Repositories that anonymous clients may read upstream. Those that match these globs are public without a check. */
  | { readonly kind: 'public'; readonly publicRepositories: readonly string[] };

/** Checked before every cache, for manifests, blobs, tags and referrers. */
export interface Access {
  /**
   * @throws OciError DENIED when the rules deny it; NAME_UNKNOWN, as for a repository that does not exist, when it is private;
   * UpstreamError when the upstream does not say.
   */
  check(question: VisibilityQuestion, waiting: Waiting): Promise<void> | void;
  /**
   * Checked before a request to the upstream: an account of the mirror may read what clients may no longer read.
   * @throws as {@link check}.
   */
  checkBeforeAsking(question: VisibilityQuestion, waiting: Waiting): Promise<void> | void;
  /** Whether other repositories may borrow its links: every client may read it now. No request is made. */
  mayBeBorrowedFrom(repositoryId: RepositoryId, label: string): Promise<boolean> | boolean;
  /** Whether the rules allow it, be it private or not. */
  admits(repositoryId: RepositoryId, label: string): boolean;
  /** Whether the catalog may list it, and siblings may read it: its last verdict, of any age, is public. No request is made. */
  mayBeListed(repositoryId: RepositoryId, label: string): Promise<boolean>;
}

export interface AccessDeps {
  /** By the upstream's label. */
  readonly rulesOf: ReadonlyMap<string, AccessRules>;
  readonly visibility: Pick<Visibility, 'check' | 'checkBeforeAsking' | 'isPublicNow' | 'isKnownPublic'>;
}

/** Access by allow and deny globs (deny wins), then by visibility. */
export function createAccess({ rulesOf, visibility }: AccessDeps): Access {
  const gates = new Map([...rulesOf].map(([label, rules]) => [label, gateOf(rules)]));
  /** @throws OciError DENIED */
  const isOpen = ({ upstream, repositoryId: { repository } }: VisibilityQuestion): boolean => {
    const gate = gates.get(upstream.label);
    if (!gate?.admits(repository)) throw new OciError('DENIED', 'this mirror does not serve that repository');
    return gate.isOpen(repository);
  };
  return {
    check: (question, waiting) => (isOpen(question) ? undefined : visibility.check(question, waiting)),
    checkBeforeAsking: (question, waiting) =>
      isOpen(question) ? undefined : visibility.checkBeforeAsking(question, waiting),
    mayBeBorrowedFrom(repositoryId, label) {
      const gate = gates.get(label);
      if (!gate?.admits(repositoryId.repository)) return false;
      return gate.isOpen(repositoryId.repository) || visibility.isPublicNow(repositoryId, label);
    },
    admits: ({ repository }, label) => gates.get(label)?.admits(repository) ?? false,
    async mayBeListed(repositoryId, label) {
      const gate = gates.get(label);
      if (!gate?.admits(repositoryId.repository)) return false;
      return gate.isOpen(repositoryId.repository) || visibility.isKnownPublic(repositoryId);
    },
  };
}

interface Gate {
  readonly admits: (repository: string) => boolean;
  /** Whether every client may read it, without a request. */
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
