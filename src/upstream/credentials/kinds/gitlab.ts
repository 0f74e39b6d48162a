import type { SettingsOf } from '../../settings.ts';
import type { AccountDeps, Credentials } from '../credentials.ts';
import { readingSecret } from '../reading-secret.ts';

/**
 * GitLab: a user with a personal, project or group access token, or a deploy token with its own name; the scope `read_registry` is
 * enough. The registry's tokens live five minutes (15 on GitLab.com) and come from another host, `<gitlab>/jwt/auth`.
 * Source: GitLab docs, "Authenticate with the container registry".
 */
export function createGitlabCredentials(
  { username, readToken }: SettingsOf<'gitlab'>,
  { account }: AccountDeps,
): Credentials {
  return readingSecret(account, async () => ({ kind: 'basic', username, password: await readToken() }));
}
