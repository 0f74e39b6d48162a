import { abortable } from '../../../mirror/concurrency/abortable-wait.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../../oci/errors.ts';
import type { SettingsOf } from '../../settings.ts';
import { awsTimeoutMs, createAwsHandler, awsSecret } from './aws.ts';
import type { CloudAgents } from '../../transport/proxy.ts';
import { credentialFailure } from '../credential-failure.ts';
import type { AccountDeps, Credentials } from '../credentials.ts';
import { RenewedSecret } from '../renewed-secret.ts';

/**
 * A private AWS ECR registry, with the credentials of AWS's default chain: environment, IRSA, Pod Identity, shared files, instance
 * profile. Region and endpoint are taken from the registry's name.
 * Source: Amazon ECR API Reference, "GetAuthorizationToken". The SDK is loaded on first use.
 */
export function createEcrCredentials(
  { region }: SettingsOf<'ecr'>,
  { account, registry, cloudAgents, clock, observer }: AccountDeps,
): Credentials {
  const found = parseEcrHost(registry.url.hostname) ?? parseEcrHost(registry.name);
  const endpoint = region === undefined ? found : { ...noEndpoint, ...found, region };
  const renewed = new RenewedSecret({
    fetch: async (options) => awsSecret(await authorizationFrom(endpoint, cloudAgents, options), clock.now()),
    timeoutMs: awsTimeoutMs,
    clock,
    observer,
    registry,
    account,
  });
  return { account, secret: (options) => renewed.current(options), forget: (secret) => renewed.forget(secret) };
}

const noEndpoint = { useFipsEndpoint: false, useDualstackEndpoint: false };

async function authorizationFrom(endpoint: EcrRegistry | undefined, agents: CloudAgents, { signal }: Waiting) {
  if (!endpoint) throw new UpstreamError('refused', "no AWS region: not in the registry's name, and not configured");
  try {
    const { ECRClient, GetAuthorizationTokenCommand } = await import('@aws-sdk/client-ecr');
    const client = new ECRClient({ ...endpoint, requestHandler: await createAwsHandler(agents) });
    // Its sockets are not needed again for hours.
    using _ = { [Symbol.dispose]: () => client.destroy() };
    // The SDK ignores the signal until it has credentials.
    const answered = client.send(new GetAuthorizationTokenCommand({}), { abortSignal: signal });
    const { authorizationData } = await abortable(answered, signal);
    return authorizationData?.[0];
  } catch (cause) {
    throw credentialFailure('AWS', cause);
  }
}

/** The parts of the name of a private ECR registry. */
interface EcrRegistry {
  readonly region: string;
  readonly useFipsEndpoint: boolean;
  readonly useDualstackEndpoint: boolean;
}

/** Source: amazon-ecr-credential-helper, `api/client.go`; cloud-provider-aws, `ecr-credential-provider`. Dual-stack names end in `on.aws`. */
const grammar =
  /^\d{12}\.dkr[.-]ecr(-fips)?\.([a-z0-9][a-z0-9-_]*)\.(amazonaws\.(?:com(?:\.cn)?|eu)|on\.(?:aws|amazonwebservices\.com\.cn)|sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)$/i;

/** @returns undefined for any other host name. */
export function parseEcrHost(hostname: string): EcrRegistry | undefined {
  const [, fips, region, suffix] = grammar.exec(hostname) ?? [];
  if (region === undefined || suffix === undefined) return undefined;
  return {
    region: region.toLowerCase(),
    useFipsEndpoint: fips !== undefined,
    useDualstackEndpoint: suffix.startsWith('on.'),
  };
}
