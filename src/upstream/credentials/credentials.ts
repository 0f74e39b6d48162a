import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import type { Repository } from '../../oci/reference.ts';
import type { CloudAgents } from '../transport/proxy.ts';

/** The secret of an account. */
export type Secret =
  /** Sent to a token endpoint, or to the registry itself. */
  | { readonly kind: 'basic'; readonly username: string; readonly password: string }
  /** A refresh token, exchanged at the token endpoint. */
  | { readonly kind: 'identity-token'; readonly token: string }
  /** Ready to be sent to the registry. */
  | { readonly kind: 'registry-token'; readonly token: string };

/** A request for a secret. */
export interface SecretRequest extends Waiting {
  /** The repository's name at the registry; absent for a ping. */
  readonly repository?: Repository | undefined;
}

/** An account at a registry. */
export interface Credentials {
  /** Identifies an account of an upstream without naming it: part of every token's key, and safe to log. */
  readonly account: string;
  /** Whether each repository may have a secret of its own: then tokens are not shared between repositories. */
  readonly isPerRepository?: boolean;
  /**
   * The account's current secret. Cheap if nothing changed; may be called concurrently.
   * @returns undefined when there is none: the request is anonymous.
   * @throws UpstreamError when it cannot be read.
   */
  secret(request: SecretRequest): Promise<Secret | undefined>;
  /** The registry refused `secret`: a cached copy of it is dropped. */
  forget(secret: Secret): void;
}

/** The dependencies of all kinds of accounts. */
export interface AccountDeps {
  readonly account: string;
  readonly registry: NamedRegistry;
  readonly cloudAgents: CloudAgents;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'internalError' | 'secretFetched'>;
  /** Aborts when the upstream is closed: programs that were started for it are killed. */
  readonly closing?: AbortSignal | undefined;
}

/** No account. */
export const anonymous: Credentials = {
  account: 'anonymous',
  secret: async () => undefined,
  forget: () => {},
};

/** Azure's registries accept an identity token as the password of this user. */
const identityTokenUser = '00000000-0000-0000-0000-000000000000';

/** The Authorization header with the secret itself. */
export function authorizationFor(secret: Secret): string {
  switch (secret.kind) {
    case 'basic':
      return basic(secret.username, secret.password);
    case 'identity-token':
      return basic(identityTokenUser, secret.token);
    case 'registry-token':
      return `Bearer ${secret.token}`;
  }
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** The name and URL of a registry. */
export interface NamedRegistry {
  /** As clients write it. */
  readonly name: string;
  /** The key of its entry in the configuration. */
  readonly label: string;
  readonly url: URL;
}

/**
 * The address under which Docker and its helpers store the credentials of a registry. It is that of the host in the URL, not of the name
 * that clients use, so that no mirror gets the account of another registry. Docker Hub's is that of its first version (moby,
 * `IndexServer`).
 */
export function serverAddressOf({ url }: NamedRegistry): string {
  return url.host === 'registry-1.docker.io' ? 'https://index.docker.io/v1/' : url.host;
}
