import { OciError } from '../oci/errors.ts';
import { anyGlobMatcher } from '../oci/glob.ts';
import type { RepositoryId, Waiting } from './ports.ts';

/** Which repositories of one upstream are served at all. Globs on the repository's name. */
export interface AccessRules {
  readonly allow: readonly string[];
  readonly deny: readonly string[];
}

/** Asked before every cache, for manifests, blobs, tags and referrers alike. */
export interface Access {
  /** @throws OciError DENIED when the rules say no. */
  check(
    place: { readonly of: RepositoryId; readonly upstream: { readonly label: string } },
    waiting: Waiting,
  ): Promise<void> | void;
}

/** Access by allow and deny globs; deny wins. `rulesOf` gives the rules by the upstream's label. */
export function createAccess(rulesOf: ReadonlyMap<string, AccessRules>): Access {
  const admits = new Map([...rulesOf].map(([label, rules]) => [label, admitter(rules)]));
  return {
    check: ({ of, upstream }) => {
      if (admits.get(upstream.label)?.(of.repository) === true) return;
      throw new OciError('DENIED', 'this mirror does not serve that repository');
    },
  };
}

function admitter({ allow, deny }: AccessRules): (repository: string) => boolean {
  const isAllowed = anyGlobMatcher(allow);
  const isDenied = anyGlobMatcher(deny);
  return (repository) => isAllowed(repository) && !isDenied(repository);
}
