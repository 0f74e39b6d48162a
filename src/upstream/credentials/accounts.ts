import { anyGlobMatcher } from '../../oci/glob.ts';
import type { Repository } from '../../oci/reference.ts';
import type { CredentialSettings } from '../settings.ts';
import { anonymous, type Credentials } from './credentials.ts';
import { createCredentials } from './create-credentials.ts';

interface Account {
  readonly credentials: Credentials;
  readonly isFor: (repository: string) => boolean;
}

/** The accounts the mirror has at one registry. */
export class Accounts {
  readonly #accounts: readonly Account[];

  constructor(settings: readonly CredentialSettings[]) {
    this.#accounts = settings.map((one, index) => ({
      credentials: createCredentials(one, `${one.kind}-${index + 1}`),
      isFor: anyGlobMatcher(one.repositories),
    }));
  }

  /** @returns the account to ask for `repository` with; {@link anonymous} where there is none for it. */
  choose(repository: Repository): Credentials {
    return this.#accounts.find(({ isFor }) => isFor(repository))?.credentials ?? anonymous;
  }
}
