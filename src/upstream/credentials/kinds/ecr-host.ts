/** What the name of a private ECR registry says. */
export interface EcrRegistry {
  readonly region: string;
  readonly useFipsEndpoint: boolean;
  readonly useDualstackEndpoint: boolean;
}

/** Source: amazon-ecr-credential-helper, `api/client.go`; cloud-provider-aws, `ecr-credential-provider`. Dual-stack names end in `on.aws`. */
const grammar =
  /^\d{12}\.dkr[.-]ecr(-fips)?\.([a-z0-9][a-z0-9-_]*)\.(amazonaws\.(?:com(?:\.cn)?|eu)|on\.(?:aws|amazonwebservices\.com\.cn)|sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)$/i;

/** @returns undefined when it is not the name of such a registry. */
export function parseEcrHost(hostname: string): EcrRegistry | undefined {
  const [, fips, region, suffix] = grammar.exec(hostname) ?? [];
  if (region === undefined || suffix === undefined) return undefined;
  return {
    region: region.toLowerCase(),
    useFipsEndpoint: fips !== undefined,
    useDualstackEndpoint: suffix.startsWith('on.'),
  };
}
