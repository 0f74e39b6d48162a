import type { Digest } from '../../oci/digest.ts';
import { parseHostName } from '../../oci/reference.ts';
import type { Access } from './access.ts';
import type { Observer } from '../ports/observer.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { Index, Link } from '../ports/store-index.ts';
import type { UpstreamDirectory } from '../ports/upstream.ts';
import { unlessUnreadable } from '../blobs/served-blob.ts';

/** The rules that say from which repositories a link may be borrowed. A reload of the configuration replaces them. */
export interface BorrowingRules {
  readonly access: Pick<Access, 'mayLend'>;
  readonly upstreams: Pick<UpstreamDirectory, 'find'>;
}

export interface BorrowedLinksDeps {
  readonly index: Pick<Index, 'borrowableLinks'>;
  readonly observer: Pick<Observer, 'internalError'>;
}

/**
 * Finds a link that a repository may borrow: one of its manifests names the digest, and another repository of the same upstream, which every
 * client may read now, is linked to it. No request is made here; if there is no such link, the caller asks the upstream.
 */
export class BorrowedLinks {
  readonly #deps: BorrowedLinksDeps;
  #rules: BorrowingRules | undefined;

  constructor(deps: BorrowedLinksDeps) {
    this.#deps = deps;
  }

  /** Sets the rules. Before the first call no link is borrowed. */
  follow(rules: BorrowingRules): void {
    this.#rules = rules;
  }

  async linkFor(repositoryId: RepositoryId, digest: Digest, kind: Link['kind']): Promise<Link | undefined> {
    const { index, observer } = this.#deps;
    const links = await unlessUnreadable(observer, 'index', () => index.borrowableLinks(repositoryId, digest, kind));
    for (const link of links ?? []) if (await this.#mayLend(link.repositoryId)) return link;
    return undefined;
  }

  #mayLend(lender: RepositoryId): Promise<boolean> | boolean {
    const { upstreams, access } = this.#rules ?? {};
    const host = parseHostName(lender.upstream);
    const label = host && upstreams?.find(host)?.label;
    return access !== undefined && label !== undefined && access.mayLend(lender, label);
  }
}
