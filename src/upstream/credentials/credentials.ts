import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import type { Repository } from '../../oci/reference.ts';
import type { CloudAgents } from '../transport/proxy.ts';

/** What an account proves itself with. */
export type Secret =
  /** To a token endpoint, or to the registry itself. */
  | { readonly kind: 'basic'; readonly username: string; readonly password: string }
  /** A refresh token, exchanged at the token endpoint. */
  | { readonly kind: 'identity-token'; readonly token: string }
  /** Ready to be sent to the registry. */
  | { readonly kind: 'registry-token'; readonly token: string };

/** Who waits for a secret, and what for. */
export interface SecretRequest extends Waiting {
  /** As the registry calls it; absent at its front door. */
  readonly repository?: Repository | undefined;
}

/** An account at a registry. */
export interface Credentials {
  /** Tells the accounts of an upstream apart without naming them: part of every token's key, and safe to show. */
  readonly account: string;
  /** Whether each repository may have a secret of its own: then no two of them share a token. */
  readonly isPerRepository?: boolean;
  /**
   * The account's secret as it is now; cheap when nothing changed. Shared: many may ask at once.
   * @returns undefined when there is none, which makes the request anonymous.
   * @throws UpstreamError when it cannot be had.
   */
  secret(request: SecretRequest): Promise<Secret | undefined>;
  /** The registry refused `secret`: whatever is remembered of it is read anew when asked next. */
  forget(secret: Secret): void;
}

/** What the account of any kind may need. */
export interface AccountDeps {
  readonly account: string;
  readonly registry: NamedRegistry;
  readonly cloudAgents: CloudAgents;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'trouble'>;
}

/** Nobody in particular. */
export const anonymous: Credentials = {
  account: 'anonymous',
  secret: async () => undefined,
  forget: () => {},
};

/** Azure's registries take an identity token as the password of this name. */
const identityTokenUser = '00000000-0000-0000-0000-000000000000';

/** The Authorization header that shows the secret itself. */
export function headerShowing(secret: Secret): string {
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

/** A registry as credentials know it. */
export interface NamedRegistry {
  /** As clients write it. */
  readonly name: string;
  readonly url: URL;
}

/**
 * Under which address Docker and its helpers keep the credentials of a registry: that of the host which is asked, whatever clients call
 * it, so that no mirror and no stand-in is shown the account of another registry. Docker Hub's is the one of its first version (moby,
 * `IndexServer`).
 */
export function serverAddressOf({ url }: NamedRegistry): string {
  return url.host === 'registry-1.docker.io' ? 'https://index.docker.io/v1/' : url.host;
}
