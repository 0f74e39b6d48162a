import type { SettingsOf } from '../../settings.ts';
import type { AccountDeps, Credentials, Secret } from '../credentials.ts';
import { unreadableSecret } from '../credential-failure.ts';

/** A user and a password or access token; also Google's `_json_key` with a service account's key. */
export function createBasicCredentials(
  { username, readPassword }: SettingsOf<'basic'>,
  { account }: AccountDeps,
): Credentials {
  return readingSecret(account, async () => ({ kind: 'basic', username, password: await readPassword() }));
}

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

/** An account whose secret is read whenever it is needed, so that a rotated secret takes effect at once. */
function readingSecret(account: string, read: () => Promise<Secret>): Credentials {
  return {
    account,
    secret: async () => {
      try {
        return await read();
      } catch (cause) {
        throw unreadableSecret('the file or source of the secret', cause);
      }
    },
    forget: () => {},
  };
}
