import type { SettingsOf } from '../settings.ts';
import type { AccountDeps, Credentials } from './credentials.ts';
import { readingSecret } from './reading-secret.ts';

/** A token that is sent to the registry as it is, read whenever it is needed. */
export function createBearerTokenCredentials(
  { readToken }: SettingsOf<'bearer-token'>,
  { account }: AccountDeps,
): Credentials {
  return readingSecret(account, async () => ({ kind: 'registry-token', token: await readToken() }));
}
