import { abortable } from '../../../mirror/concurrency/abortable-wait.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../../oci/errors.ts';
import type { SettingsOf } from '../../settings.ts';
import { awsTimeoutMs, lentByAws } from './aws-authorization.ts';
import type { CloudAgents } from './cloud-agents.ts';
import { credentialFailure } from '../credential-failure.ts';
import type { AccountDeps, Credentials } from '../credentials.ts';
import { type EcrRegistry, parseEcrHost } from './ecr-host.ts';
import { RenewedSecret } from '../renewed-secret.ts';

/**
 * A private AWS ECR registry, with what AWS's usual chain finds: environment, IRSA, Pod Identity, shared files, instance profile.
 * Region and endpoint follow from the registry's name.
 * Source: Amazon ECR API Reference, "GetAuthorizationToken". The SDK is loaded when it is first needed.
 */
export function createEcrCredentials(
  { region }: SettingsOf<'ecr'>,
  { account, registry, cloudAgents, clock, observer }: AccountDeps,
): Credentials {
  const found = parseEcrHost(registry.url.hostname) ?? parseEcrHost(registry.name);
  const endpoint = region === undefined ? found : { ...noEndpoint, ...found, region };
  const renewed = new RenewedSecret({
    fetch: async (options) => lentByAws(await authorizationFrom(endpoint, cloudAgents, options), clock.now()),
    timeoutMs: awsTimeoutMs,
    clock,
    observer,
  });
  return { account, secret: (options) => renewed.current(options), forget: (secret) => renewed.forget(secret) };
}

const noEndpoint = { useFipsEndpoint: false, useDualstackEndpoint: false };

async function authorizationFrom(endpoint: EcrRegistry | undefined, agents: CloudAgents, { signal }: Waiting) {
  if (!endpoint)
    throw new UpstreamError('refused', 'the name of the registry says no AWS region, and none is configured');
  try {
    const { ECRClient, GetAuthorizationTokenCommand } = await import('@aws-sdk/client-ecr');
    const { AwsHandler } = await import('./aws-handler.ts');
    const client = new ECRClient({ ...endpoint, requestHandler: new AwsHandler(agents) });
    // Its sockets are not needed again for hours.
    using _ = { [Symbol.dispose]: () => client.destroy() };
    // The SDK looks at the signal only once it has found out who it is.
    const answered = client.send(new GetAuthorizationTokenCommand({}), { abortSignal: signal });
    const { authorizationData } = await abortable(answered, signal);
    return authorizationData?.[0];
  } catch (cause) {
    throw credentialFailure('AWS', cause);
  }
}
