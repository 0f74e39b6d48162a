import { UpstreamError } from '../../../oci/errors.ts';
import type { CloudAgents } from '../../transport/proxy.ts';
import type { ExpiringSecret } from '../renewed-secret.ts';

/** The part of both APIs' answers that is used. */
export interface AwsAuthorization {
  readonly authorizationToken?: string | undefined;
  readonly expiresAt?: Date | undefined;
}

/** Timeout for AWS's credential chain and its API together. */
export const awsTimeoutMs = 15_000;

/**
 * Parses base64 of `AWS:<password>`, valid for twelve hours. It is renewed after half its life, as in amazon-ecr-credential-helper.
 * @throws UpstreamError misbehaving when it is malformed.
 */
export function awsSecret(authorization: AwsAuthorization | undefined, nowMs: number): ExpiringSecret {
  const [, username, password] = /^([^:]+):(.+)$/s.exec(decoded(authorization?.authorizationToken)) ?? [];
  const endsAtMs = authorization?.expiresAt?.getTime();
  if (username === undefined || password === undefined || endsAtMs === undefined || Number.isNaN(endsAtMs)) {
    throw new UpstreamError('misbehaving', 'AWS answered without an authorization token');
  }
  return { secret: { kind: 'basic', username, password }, renewAtMs: nowMs + (endsAtMs - nowMs) / 2, endsAtMs };
}

function decoded(base64 = ''): string {
  return Buffer.from(base64, 'base64').toString('utf8');
}

/** Sends the requests of AWS's SDK, also those to STS, through {@link CloudAgents}. The SDK asks metadata services directly. */
export async function createAwsHandler(agents: CloudAgents) {
  const { NodeHttpHandler } = await import('@smithy/node-http-handler'); // Loaded with the SDK, when it is first needed.
  return new (class extends NodeHttpHandler {
    override async handle(...[request, options]: Parameters<InstanceType<typeof NodeHttpHandler>['handle']>) {
      const { protocol, hostname, port } = request;
      const agent = agents(new URL(`${protocol}//${hostname}:${port ?? ''}`));
      const handler = new NodeHttpHandler({ httpAgent: agent, httpsAgent: agent });
      return handler.handle(request, options);
    }
  })();
}
