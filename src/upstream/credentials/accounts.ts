import type { Clock } from '../../mirror/ports/clock.ts';
import { anyGlobMatcher, type Repository } from '../../oci/reference.ts';
import type { AccountSettings, CredentialSettings } from '../settings.ts';
import { BackOff } from './back-off.ts';
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

/** How long an account whose limit is used up is tried last. */
const lowPriorityMs = 5 * 60_000;

/** What a rate limit applies to: pulls (GETs of manifests), or all requests. */
export type Limited = 'pulls' | 'everything';

/** The mirror's accounts at one registry, and which of them may be used now. */
export class Accounts {
  readonly #accounts: readonly Account[];
  readonly #clock: Clock;
  /** Undefined until an account is rate limited. */
  #backOff: BackOff | undefined;
  /** Until when an account whose limit is used up is tried last. */
  readonly #lowPriorityUntilMs = new Map<Credentials, number>();

  constructor(settings: readonly CredentialSettings[], deps: Omit<AccountDeps, 'account'>) {
    this.#clock = deps.clock;
    this.#accounts = settings.map((one, index) => ({
      credentials: createCredentials(one, { ...deps, account: `${one.kind}-${index + 1}` }),
      isFor: anyGlobMatcher(one.repositories),
    }));
  }

  /**
   * The accounts for `repository`, in the order of the configuration, those whose limit is used up last. Without a matching account the
   * request is anonymous.
   */
  choose(repository: Repository): readonly Credentials[] {
    const fit = this.#accounts.filter(({ isFor }) => isFor(repository)).map(({ credentials }) => credentials);
    return fit.length === 0
      ? [anonymous]
      : fit.toSorted((one, other) => this.#lowPriorityLeftMs(one) - this.#lowPriorityLeftMs(other));
  }

  /** The account's limit is used up: it is tried last. Requests that do not count still succeed. */
  deprioritize(credentials: Credentials): void {
    this.#lowPriorityUntilMs.set(credentials, this.#clock.monotonicMs() + lowPriorityMs);
  }

  /** The registry rate limited this account, possibly with a Retry-After. */
  backOff({ account }: Credentials, what: Limited, forSeconds: number | undefined): void {
    this.#backOff ??= new BackOff(this.#clock);
    this.#backOff.begin(`${account} ${what}`, forSeconds);
  }

  /** How long the account may not be used for a pull, or for another request; 0 when it may. */
  backOffMs({ account }: Credentials, what: 'pull' | 'other'): number {
    if (!this.#backOff) return 0;
    const fromEverything = this.#backOff.leftMs(`${account} everything`);
    return what === 'pull' ? Math.max(fromEverything, this.#backOff.leftMs(`${account} pulls`)) : fromEverything;
  }

  #lowPriorityLeftMs(credentials: Credentials): number {
    return Math.max(0, (this.#lowPriorityUntilMs.get(credentials) ?? 0) - this.#clock.monotonicMs());
  }
}

/** Creates an account from its settings. */
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
