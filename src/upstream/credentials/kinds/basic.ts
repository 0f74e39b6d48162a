import type { SettingsOf } from '../../settings.ts';
import type { AccountDeps, Credentials } from '../credentials.ts';
import { readingSecret } from '../reading-secret.ts';

/** A user and a password or access token; also Google's `_json_key` with a service account's key. */
export function createBasicCredentials(
  { username, readPassword }: SettingsOf<'basic'>,
  { account }: AccountDeps,
): Credentials {
  return readingSecret(account, async () => ({ kind: 'basic', username, password: await readPassword() }));
}
