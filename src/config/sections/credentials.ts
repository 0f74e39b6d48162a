import { z } from 'zod';
import { repositoryGlob } from './names.ts';
import { durationMs, path, requiredSecret, text } from './values.ts';

const repositories = z
  .array(repositoryGlob())
  .describe(
    'Globs over the repositories these credentials are used for. The first matching entry that is not at its rate limit is used.',
  )
  .prefault(['**']);

const basic = z
  .strictObject({
    kind: z.literal('basic').describe('A user name with a password or access token.'),
    repositories,
    username: text().describe('The user name.'),
    password: text().describe('The password.').optional(),
    passwordFile: path()
      .describe('A file with the password, instead of `password`; re-read when it changes.')
      .optional(),
  })
  .transform(({ password, passwordFile, ...rest }, context) => ({
    ...rest,
    password: requiredSecret({ key: 'password', text: password, file: passwordFile }, context),
  }));

const bearerToken = z
  .strictObject({
    kind: z
      .literal('bearer-token')
      .describe('An identity token as stored by `docker login`. It is exchanged at the token realm.'),
    repositories,
    token: text().describe('The token.').optional(),
    tokenFile: path().describe('A file with the token, instead of `token`; re-read when it changes.').optional(),
  })
  .transform(({ token, tokenFile, ...rest }, context) => ({
    ...rest,
    token: requiredSecret({ key: 'token', text: token, file: tokenFile }, context),
  }));

const dockerConfig = z.strictObject({
  kind: z
    .literal('docker-config')
    .describe('The entry for the registry in a Docker `config.json`: `auths` or a credential helper.'),
  repositories,
  configFile: path().describe('The `config.json`; re-read when it changes.'),
});

const exec = z
  .strictObject({
    kind: z.literal('exec').describe('A program that implements the Docker credential helper protocol.'),
    repositories,
    command: text().describe('The program to run.'),
    args: z.array(text()).describe('Arguments to pass before `get`.').prefault([]),
    lifetime: durationMs().describe('How long its output is reused.').prefault('15m'),
    timeout: durationMs().describe('How long it may run.').prefault('10s'),
  })
  .transform(({ lifetime, timeout, ...rest }) => ({ ...rest, lifetimeMs: lifetime, timeoutMs: timeout }));

const google = z.strictObject({
  kind: z
    .literal('google')
    .describe('A Google service account: from a key file, or from the machine or pod (Workload Identity).'),
  repositories,
  keyFile: path().describe('The JSON key of a service account. Default: Application Default Credentials.').optional(),
});

const ecr = z.strictObject({
  kind: z
    .literal('ecr')
    .describe(
      'A private AWS ECR registry, with the AWS default credential chain: environment, IRSA, Pod Identity, instance profile.',
    ),
  repositories,
  region: text().describe("The region to request tokens from. Default: the region in the registry's name.").optional(),
});

const ecrPublic = z.strictObject({
  kind: z.literal('ecr-public').describe('The Amazon ECR Public Gallery, with the AWS default credential chain.'),
  repositories,
});

const gitlab = z
  .strictObject({
    kind: z.literal('gitlab').describe('A GitLab access token or deploy token.'),
    repositories,
    username: text().describe('The user name that belongs to the token.'),
    token: text().describe('The token, with the scope `read_registry`.').optional(),
    tokenFile: path().describe('A file with the token, instead of `token`; re-read when it changes.').optional(),
  })
  .transform(({ token, tokenFile, ...rest }, context) => ({
    ...rest,
    token: requiredSecret({ key: 'token', text: token, file: tokenFile }, context),
  }));

/** Who the mirror is at a registry. One schema a kind. */
export const credentials = z.discriminatedUnion('kind', [
  basic,
  bearerToken,
  dockerConfig,
  exec,
  google,
  ecr,
  ecrPublic,
  gitlab,
]);

/** The keys of an upstream's entry that identify the mirror. */
export interface IdentityKeys {
  readonly credentials: readonly unknown[];
  readonly mirrors: readonly { readonly credentials: readonly unknown[] }[];
  readonly tls: { readonly certFile?: string | undefined };
}

/** Whether the mirror has an identity at the registry or at one of its mirrors: then it may read what anonymous clients may not. */
export function hasIdentity({ credentials, mirrors, tls }: IdentityKeys): boolean {
  return (
    credentials.length > 0 || tls.certFile !== undefined || mirrors.some((mirror) => mirror.credentials.length > 0)
  );
}
