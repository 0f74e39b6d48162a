import { abortable } from '../../../mirror/concurrency/abortable-wait.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../../oci/errors.ts';
import type { ReadSecret, SettingsOf } from '../../settings.ts';
import type { CloudAgents } from '../../transport/proxy.ts';
import { credentialFailure } from '../credential-failure.ts';
import type { AccountDeps, Credentials } from '../credentials.ts';
import { type ExpiringSecret, RenewedSecret } from '../renewed-secret.ts';
import { parseJson } from '../../../oci/json.ts';

const scopes = ['https://www.googleapis.com/auth/cloud-platform'];
const timeoutMs = 15_000;

/**
 * The metadata server returns the same token until about four minutes before it expires, so an earlier renewal gains nothing
 * (golang/oauth2, `google/google.go`). GKE's returns tokens that are about to expire (docker-credential-gcr), so tokens are used to the end.
 */
const renewBeforeEndMs = 225_000;
const unusableBeforeEndMs = 10_000;

/**
 * Google Artifact Registry and Container Registry, with the key of a service account or the credentials of the machine or pod: Application
 * Default Credentials, Workload Identity, Workload Identity Federation.
 * Source: Artifact Registry docs, "Authenticate with an access token". The library is loaded on first use.
 */
export function createGoogleCredentials(
  { readKey }: SettingsOf<'google'>,
  { account, registry, cloudAgents, clock, observer }: AccountDeps,
): Credentials {
  const fetch = async ({ signal }: Waiting): Promise<ExpiringSecret> => {
    try {
      return googleSecret(await abortable(fetchToken(readKey, cloudAgents), signal), clock.now());
    } catch (cause) {
      throw credentialFailure('Google', cause);
    }
  };
  const renewed = new RenewedSecret({ fetch, timeoutMs, clock, observer, registry, account });
  return { account, secret: (options) => renewed.current(options), forget: (secret) => renewed.forget(secret) };
}

/** A token needs no project, but without one the library runs `gcloud` and queries the metadata server for it, which takes a second. */
const noProject = 'none';

interface GoogleToken {
  readonly token: string;
  readonly endsAtMs: number | undefined;
}

async function fetchToken(readKey: ReadSecret | undefined, agents: CloudAgents): Promise<GoogleToken> {
  const { GoogleAuth, JWT } = await import('google-auth-library');
  // Without an agent the library would look for proxies in the environment.
  const transporterOptions = { agent: agents };
  const client = readKey
    ? new JWT({ ...parseKey(await readKey()), scopes, transporterOptions })
    : await new GoogleAuth({ scopes, projectId: noProject, clientOptions: { transporterOptions } }).getClient();
  const { token } = await client.getAccessToken();
  if (typeof token !== 'string') throw new UpstreamError('refused', 'Google answered without a token');
  return { token, endsAtMs: client.credentials.expiry_date ?? undefined };
}

/** A token without an expiry is renewed after a minute. */
function googleSecret({ token, endsAtMs = 0 }: GoogleToken, nowMs: number): ExpiringSecret {
  const end = Math.max(endsAtMs, nowMs + 60_000);
  return {
    secret: { kind: 'basic', username: 'oauth2accesstoken', password: token },
    renewAtMs: end - renewBeforeEndMs,
    endsAtMs: end - unusableBeforeEndMs,
  };
}

/** Takes only the credentials from a key file, no URLs: the file must not choose a host. */
function parseKey(text: string): { readonly email: string; readonly key: string } {
  const file = parseJson(text);
  if (isKey(file)) return { email: file.client_email, key: file.private_key };
  throw new UpstreamError('refused', 'the key is not one of a Google service account');
}

function isKey(value: unknown): value is { readonly client_email: string; readonly private_key: string } {
  if (typeof value !== 'object' || value === null || !('client_email' in value) || !('private_key' in value))
    return false;
  return typeof value.client_email === 'string' && typeof value.private_key === 'string';
}
