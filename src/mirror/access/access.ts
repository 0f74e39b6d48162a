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
  /** Everything: the mirror has no identity there, so that all it can read is public. */
  | { readonly kind: 'open' }
  /** Everything that the mirror's identity can read. Only repositories that match these globs are known to be public. */
  | { readonly kind: 'service'; readonly publicRepositories: readonly string[] }
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
  /**
   * Whether clients may be sent to read its content elsewhere, where the mirror no longer checks who reads it: anyone may read it upstream, by
   * the rules or by a verdict within its lifetime. No request is made.
   */
  mayBeRedirected(repositoryId: RepositoryId, label: string): Promise<boolean> | boolean;
  /** Whether the rules allow it, be it private or not. */
  admits(repositoryId: RepositoryId, label: string): boolean;
  /** Whether the catalog may list it, and siblings may read it: its last verdict, of any age, is public. No request is made. */
  mayBeListed(repositoryId: RepositoryId, label: string): Promise<boolean>;
}

export interface AccessDeps {
  /** By the upstream's label. */
  readonly rulesOf: ReadonlyMap<string, AccessRules>;
  readonly visibility: Pick<
    Visibility,
    'check' | 'checkBeforeAsking' | 'isPublicNow' | 'isKnownPublic' | 'hasFreshPublicVerdict'
  >;
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
    mayBeRedirected(repositoryId, label) {
      const gate = gates.get(label);
      if (!gate?.admits(repositoryId.repository)) return false;
      return gate.isPublic(repositoryId.repository) || visibility.hasFreshPublicVerdict(repositoryId, label);
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
  /** Whether anyone may read it upstream, without a request. */
  readonly isPublic: (repository: string) => boolean;
}

function gateOf({ allow, deny, visibility }: AccessRules): Gate {
  const isAllowed = anyGlobMatcher(allow);
  const isDenied = anyGlobMatcher(deny);
  return {
    admits: (repository) => isAllowed(repository) && !isDenied(repository),
    isOpen: visibility.kind === 'public' ? publicRepositories(visibility) : () => true,
    isPublic: publicRepositories(visibility),
  };
}

/** The repositories that are public by the rules. */
function publicRepositories(visibility: VisibilityRules): (repository: string) => boolean {
  return visibility.kind === 'open' ? () => true : anyGlobMatcher(visibility.publicRepositories);
}
