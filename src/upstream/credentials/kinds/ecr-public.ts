import { abortable } from '../../../mirror/concurrency/abortable-wait.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import type { SettingsOf } from '../../settings.ts';
import { awsTimeoutMs, createAwsHandler, awsSecret } from './aws.ts';
import type { CloudAgents } from '../../transport/proxy.ts';
import { credentialFailure } from '../credential-failure.ts';
import type { AccountDeps, Credentials } from '../credentials.ts';
import { RenewedSecret } from '../renewed-secret.ts';

/** The only region with the API of the public gallery. */
const region = 'us-east-1';

/**
 * AWS's public gallery, which has higher limits for accounts, with the credentials of AWS's default chain.
 * Source: Amazon ECR Public API Reference, "GetAuthorizationToken". The SDK is loaded on first use.
 */
export function createEcrPublicCredentials(
  _settings: SettingsOf<'ecr-public'>,
  { account, registry, cloudAgents, clock, observer }: AccountDeps,
): Credentials {
  const renewed = new RenewedSecret({
    fetch: async (options) => awsSecret(await fetchAuthorization(cloudAgents, options), clock.now()),
    timeoutMs: awsTimeoutMs,
    clock,
    observer,
    registry,
    account,
  });
  return { account, secret: (options) => renewed.current(options), forget: (secret) => renewed.forget(secret) };
}

async function fetchAuthorization(agents: CloudAgents, { signal }: Waiting) {
  try {
    const { ECRPUBLICClient, GetAuthorizationTokenCommand } = await import('@aws-sdk/client-ecr-public');
    const client = new ECRPUBLICClient({ region, requestHandler: await createAwsHandler(agents) });
    // Its sockets are not needed again for hours.
    using _ = { [Symbol.dispose]: () => client.destroy() };
    // The SDK ignores the signal until it has credentials.
    const answered = client.send(new GetAuthorizationTokenCommand({}), { abortSignal: signal });
    const { authorizationData } = await abortable(answered, signal);
    return authorizationData;
  } catch (cause) {
    throw credentialFailure('AWS', cause);
  }
}
