import type { SettingsOf } from '../settings.ts';
import type { AccountDeps, Credentials } from './credentials.ts';
import { readingSecret } from './reading-secret.ts';

/**
 * A refresh token, such as `docker login` keeps as `identitytoken` (Azure, Docker Desktop): exchanged at the token endpoint, never sent
 * to the registry where that takes tokens.
 * Source: distribution, "OAuth2 Token Authentication".
 */
export function createIdentityTokenCredentials(
  { readToken }: SettingsOf<'identity-token'>,
  { account }: AccountDeps,
): Credentials {
  return readingSecret(account, async () => ({ kind: 'identity-token', token: await readToken() }));
}
