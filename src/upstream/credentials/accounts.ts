import type { Clock } from '../../mirror/ports/clock.ts';
import { anyGlobMatcher } from '../../oci/glob.ts';
import type { Repository } from '../../oci/reference.ts';
import type { AccountSettings, CredentialSettings } from '../settings.ts';
import { BackOff } from './protocol/refusals.ts';
import { type AccountDeps, anonymous, type Credentials } from './credentials.ts';
import {
  createBasicCredentials,
  createBearerTokenCredentials,
  createGitlabCredentials,
} from './kinds/configured-secrets.ts';
import { createDockerConfigCredentials } from './kinds/docker-config.ts';
import { createEcrCredentials } from './kinds/ecr.ts';
import { createEcrPublicCredentials } from './kinds/ecr-public.ts';
import { createExecCredentials } from './kinds/exec.ts';
import { createGoogleCredentials } from './kinds/google.ts';

interface Account {
  readonly credentials: Credentials;
  readonly isFor: (repository: string) => boolean;
}

/** How long an account with nothing left is asked last. */
const spareMs = 5 * 60_000;

/** What an account can be told to do less of: pulls, that is GETs of manifests, or everything. */
export type Limited = 'pulls' | 'everything';

/** The accounts the mirror has at one registry, and which of them may be asked. */
export class Accounts {
  readonly #accounts: readonly Account[];
  readonly #clock: Clock;
  readonly #backOff: BackOff;
  /** Until when an account is spared that has nothing left. */
  readonly #sparedUntilMs = new Map<Credentials, number>();

  constructor(settings: readonly CredentialSettings[], deps: Omit<AccountDeps, 'account'>) {
    this.#clock = deps.clock;
    this.#backOff = new BackOff(deps.clock);
    this.#accounts = settings.map((one, index) => ({
      credentials: createCredentials(one, { ...deps, account: `${one.kind}-${index + 1}` }),
      isFor: anyGlobMatcher(one.repositories),
    }));
  }

  /**
   * The accounts to ask for `repository` with, in the order of the configuration, those with nothing left last; never none: where no
   * account is for it, the request is anonymous.
   */
  choose(repository: Repository): readonly Credentials[] {
    const fit = this.#accounts.filter(({ isFor }) => isFor(repository)).map(({ credentials }) => credentials);
    return fit.length === 0 ? [anonymous] : fit.toSorted((one, other) => this.#spareMs(one) - this.#spareMs(other));
  }

  /** Nothing of its allowance is left; what is free, and images that are, it still gets. */
  spare(credentials: Credentials): void {
    this.#sparedUntilMs.set(credentials, this.#clock.monotonicMs() + spareMs);
  }

  /** The registry told this account to slow down, and perhaps for how long. */
  holdBack({ account }: Credentials, what: Limited, forSeconds: number | undefined): void {
    this.#backOff.begin(`${account} ${what}`, forSeconds);
  }

  /** How long it is not to be asked for a pull, or for anything else; 0 when it may be asked. */
  heldBackMs({ account }: Credentials, what: 'pull' | 'other'): number {
    const fromEverything = this.#backOff.leftMs(`${account} everything`);
    return what === 'pull' ? Math.max(fromEverything, this.#backOff.leftMs(`${account} pulls`)) : fromEverything;
  }

  #spareMs(credentials: Credentials): number {
    return Math.max(0, (this.#sparedUntilMs.get(credentials) ?? 0) - this.#clock.monotonicMs());
  }
}

/** The account that an operator described. */
export function createCredentials(settings: AccountSettings, deps: AccountDeps): Credentials {
  switch (settings.kind) {
    case 'basic':
      return createBasicCredentials(settings, deps);
    case 'bearer-token':
      return createBearerTokenCredentials(settings, deps);
    case 'docker-config':
      return createDockerConfigCredentials(settings, deps);
    case 'exec':
      return createExecCredentials(settings, deps);
    case 'google':
      return createGoogleCredentials(settings, deps);
    case 'ecr':
      return createEcrCredentials(settings, deps);
    case 'ecr-public':
      return createEcrPublicCredentials(settings, deps);
    case 'gitlab':
      return createGitlabCredentials(settings, deps);
  }
}
