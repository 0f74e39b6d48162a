import type { Clock } from '../../mirror/ports.ts';
import { anyGlobMatcher } from '../../oci/glob.ts';
import type { Repository } from '../../oci/reference.ts';
import type { CredentialSettings } from '../settings.ts';
import { type AccountDeps, anonymous, type Credentials } from './credentials.ts';
import { createCredentials } from './create-credentials.ts';

interface Account {
  readonly credentials: Credentials;
  readonly isFor: (repository: string) => boolean;
}

/** How long an account rests that was told to slow down without being told for how long. */
const restMs = 5 * 60_000;

/** The accounts the mirror has at one registry. */
export class Accounts {
  readonly #accounts: readonly Account[];
  readonly #clock: Clock;
  /** Until when an account is at its limit. */
  readonly #restingUntilMs = new Map<Credentials, number>();

  constructor(settings: readonly CredentialSettings[], deps: Omit<AccountDeps, 'account'>) {
    this.#clock = deps.clock;
    this.#accounts = settings.map((one, index) => ({
      credentials: createCredentials(one, { ...deps, account: `${one.kind}-${index + 1}` }),
      isFor: anyGlobMatcher(one.repositories),
    }));
  }

  /**
   * The accounts to ask for `repository` with, in the order of the configuration, those that are at their limit last; never none:
   * where no account is for it, the request is anonymous.
   */
  choose(repository: Repository): readonly [Credentials, ...Credentials[]] {
    const fit = this.#accounts.filter(({ isFor }) => isFor(repository)).map(({ credentials }) => credentials);
    const [first = anonymous, ...others] = fit.toSorted((one, other) => this.#restMs(one) - this.#restMs(other));
    return [first, ...others];
  }

  isResting(credentials: Credentials): boolean {
    return this.#restMs(credentials) > 0;
  }

  /** The registry told this account to slow down. */
  rest(credentials: Credentials, forSeconds: number | undefined): void {
    const forMs = forSeconds === undefined ? restMs : forSeconds * 1_000;
    this.#restingUntilMs.set(credentials, this.#clock.now() + forMs);
  }

  #restMs(credentials: Credentials): number {
    return Math.max(0, (this.#restingUntilMs.get(credentials) ?? 0) - this.#clock.now());
  }
}
