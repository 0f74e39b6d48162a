import { z } from 'zod';
import { repositoryGlob } from './names.ts';
import { durationMs, path, requiredSecret, text } from './values.ts';

const repositories = z
  .array(repositoryGlob())
  .describe(
    'Globs over the repositories these credentials are for. Of the entries that match, the first that is not at its rate limit is used.',
  )
  .prefault(['**']);

const basic = z
  .strictObject({
    kind: z.literal('basic').describe('A user and a password or access token.'),
    repositories,
    username: text().describe('The user.'),
    password: text().describe('The password.').optional(),
    passwordFile: path().describe('The file that holds the password instead; read again when it rotates.').optional(),
  })
  .transform(({ password, passwordFile, ...rest }, context) => ({
    ...rest,
    password: requiredSecret({ key: 'password', text: password, file: passwordFile }, context),
  }));

const bearerToken = z
  .strictObject({
    kind: z
      .literal('bearer-token')
      .describe('An identity token, as `docker login` keeps it: exchanged at the token realm.'),
    repositories,
    token: text().describe('The token.').optional(),
    tokenFile: path().describe('The file that holds the token instead; read again when it rotates.').optional(),
  })
  .transform(({ token, tokenFile, ...rest }, context) => ({
    ...rest,
    token: requiredSecret({ key: 'token', text: token, file: tokenFile }, context),
  }));

const dockerConfig = z.strictObject({
  kind: z
    .literal('docker-config')
    .describe('What a Docker `config.json` says of the registry: `auths` and its credential helpers.'),
  repositories,
  configFile: path().describe('The `config.json`; read again when it changes.'),
});

const exec = z
  .strictObject({
    kind: z.literal('exec').describe('A program that speaks the Docker credential helper protocol.'),
    repositories,
    command: text().describe('The program.'),
    args: z.array(text()).describe('Its arguments before `get`.').prefault([]),
    lifetime: durationMs().describe('How long its answer is used.').prefault('15m'),
    timeout: durationMs().describe('How long it may take.').prefault('10s'),
  })
  .transform(({ lifetime, timeout, ...rest }) => ({ ...rest, lifetimeMs: lifetime, timeoutMs: timeout }));

const google = z.strictObject({
  kind: z
    .literal('google')
    .describe("Google's: a service account's key, or what the machine or pod has (Workload Identity)."),
  repositories,
  keyFile: path().describe("A service account's key, JSON. Default: Application Default Credentials.").optional(),
});

const ecr = z.strictObject({
  kind: z
    .literal('ecr')
    .describe("A private AWS ECR registry, with AWS's usual chain: environment, IRSA, Pod Identity, instance profile."),
  repositories,
  region: text().describe("The region to ask for a token. Default: the one in the registry's name.").optional(),
});

const ecrPublic = z.strictObject({
  kind: z.literal('ecr-public').describe("AWS's public gallery, with AWS's usual chain."),
  repositories,
});

const gitlab = z
  .strictObject({
    kind: z.literal('gitlab').describe('A GitLab user with an access token, or a deploy token.'),
    repositories,
    username: text().describe("The user's, or the deploy token's, name."),
    token: text().describe('The token, with the scope `read_registry`.').optional(),
    tokenFile: path().describe('The file that holds the token instead; read again when it rotates.').optional(),
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
