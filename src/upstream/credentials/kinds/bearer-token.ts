import type { SettingsOf } from '../../settings.ts';
import type { AccountDeps, Credentials } from '../credentials.ts';
import { readingSecret } from '../reading-secret.ts';

/**
 * An identity token, such as `docker login` keeps as `identitytoken` (Azure, Docker Desktop): exchanged at the token endpoint with a
 * POST, or with a GET and Basic where the endpoint knows no POST; never sent to the registry where that takes tokens.
 * Source: distribution, "OAuth2 Token Authentication".
 */
export function createBearerTokenCredentials(
  { readToken }: SettingsOf<'bearer-token'>,
  { account }: AccountDeps,
): Credentials {
  return readingSecret(account, async () => ({ kind: 'identity-token', token: await readToken() }));
}
