import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type FakeRegistry, startFakeRegistry } from './fake-registry.ts';
import type { ManualClock } from './manual-clock.ts';
import { startSource, type Source, type SourceAnswer, type SourceRequest } from './source.ts';
import { temporaryDirectory } from './temp-directory.ts';
import { printing, writeHelper } from './write-helper.ts';

/** A registry with an account of one kind, and the servers that issue its secrets, on real sockets. */
export interface StartedKind {
  readonly registry: FakeRegistry;
  /** The upstream in the configuration. */
  readonly entry: object;
  /** Of the mirror's environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly sources: readonly Source[];
  /** How often each source was asked, and the helper run. */
  readonly asked: () => Promise<readonly number[]>;
  /** The time after which its secrets are read again. */
  readonly renewedAfterMs: number;
  /** Changes the account's secret, for the mirror too or not. The former secret stops working. */
  readonly changeSecret: (secret: string, options: { readonly isTold: boolean }) => Promise<void>;
}

/** The secret that works, and the one that the mirror has. */
interface Secrets {
  accepted: string;
  held: string;
}

const minute = 60_000;
const hour = 60 * minute;
const first = 'first-secret';

/** Every kind of credentials that an upstream may have. */
export const accountKinds = {
  basic: async () => {
    const { file, write } = await secretFile();
    const started = await withTokens(({ headers }) => passwordIn(headers.authorization, 'robot'));
    return started.with({ kind: 'basic', username: 'robot', passwordFile: file }, { tell: write });
  },
  'bearer-token': async () => {
    const { file, write } = await secretFile();
    const started = await withTokens(({ body }) => new URLSearchParams(body).get('refresh_token') ?? undefined);
    return started.with({ kind: 'bearer-token', tokenFile: file }, { tell: write });
  },
  'docker-config': async () => {
    const { file, write } = await secretFile();
    const started = await withTokens(({ headers }) => passwordIn(headers.authorization, 'robot'));
    const tell = (secret: string) => {
      const auth = Buffer.from(`robot:${secret}`).toString('base64');
      return write(JSON.stringify({ auths: { [started.registry.host]: { auth } } }));
    };
    await tell(first);
    return started.with({ kind: 'docker-config', configFile: file }, { tell });
  },
  exec: async () => {
    const helper = await writeHelper(await temporaryDirectory(), 'helper', printing('robot', first));
    const started = await withTokens(({ headers }) => passwordIn(headers.authorization, 'robot'));
    const tell = (secret: string) => helper.replaceWith(printing('robot', secret));
    const runs = async () => (await helper.asked()).length;
    return started.with(
      { kind: 'exec', command: helper.path, lifetime: '10m' },
      { tell, runs, renewedAfterMs: 11 * minute },
    );
  },
  google: async (clock: ManualClock) => {
    const started = await withTokens(({ headers }) => passwordIn(headers.authorization, 'oauth2accesstoken'));
    const metadata = await startSource(({ url }) => metadataAbout(url, started.secrets, clock));
    return started.with(
      { kind: 'google' },
      {
        sources: [metadata],
        env: { GCE_METADATA_HOST: metadata.host, METADATA_SERVER_DETECTION: 'assume-present' },
        renewedAfterMs: 57 * minute,
      },
    );
  },
  ecr: async (clock: ManualClock) => {
    const secrets = { accepted: first, held: first };
    const api = await startSource(() => ({ status: 200, body: { authorizationData: [ecrToken(secrets, clock)] } }));
    const account = { kind: 'basic' as const, username: 'AWS', password: first };
    const registry = await startFakeRegistry({ auth: account });
    return {
      registry,
      entry: entryOf(registry, { kind: 'ecr', region: 'eu-west-1' }, []),
      env: { ...awsAccount, AWS_ENDPOINT_URL_ECR: api.url },
      sources: [api],
      asked: async () => [api.asked.length],
      renewedAfterMs: 6 * hour,
      changeSecret: async (secret, { isTold }) => {
        account.password = secret;
        if (isTold) secrets.held = secret;
      },
    };
  },
  'ecr-public': async (clock: ManualClock) => {
    const started = await withTokens(({ headers }) => passwordIn(headers.authorization, 'AWS'));
    const api = await startSource(() => ({
      status: 200,
      body: { authorizationData: ecrToken(started.secrets, clock) },
    }));
    return started.with(
      { kind: 'ecr-public' },
      { sources: [api], env: { ...awsAccount, AWS_ENDPOINT_URL_ECR_PUBLIC: api.url }, renewedAfterMs: 6 * hour },
    );
  },
  gitlab: async () => {
    const { file, write } = await secretFile();
    const started = await withTokens(({ headers }) => passwordIn(headers.authorization, 'deploy'));
    return started.with({ kind: 'gitlab', username: 'deploy', tokenFile: file }, { tell: write });
  },
} satisfies Record<string, (clock: ManualClock) => Promise<StartedKind>>;

const awsAccount = {
  AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
  AWS_SECRET_ACCESS_KEY: 'secret-key-of-the-account',
  AWS_CONFIG_FILE: '/nowhere',
  AWS_SHARED_CREDENTIALS_FILE: '/nowhere',
};

async function secretFile() {
  const file = join(await temporaryDirectory(), 'secret');
  const write = (secret: string) => writeFile(file, secret);
  await write(first);
  return { file, write };
}

interface More {
  /** Lets the mirror's side hear of a secret; absent where it asks a source. */
  readonly tell?: (secret: string) => Promise<void>;
  readonly sources?: readonly Source[];
  readonly runs?: () => Promise<number>;
  readonly env?: Readonly<Record<string, string>>;
  readonly renewedAfterMs?: number;
}

/** A registry whose tokens, good for five minutes, come from a server of their own, for those who show it the right secret. */
async function withTokens(shownIn: (request: SourceRequest) => string | undefined) {
  const secrets: Secrets = { accepted: first, held: first };
  const tokens = await startSource((request): SourceAnswer => {
    if (shownIn(request) !== secrets.accepted) return { status: 401, body: { errors: [{ code: 'UNAUTHORIZED' }] } };
    const scope = request.url.searchParams.get('scope') ?? new URLSearchParams(request.body).get('scope') ?? '';
    return { status: 200, body: registry.auth.issue(scope) };
  });
  const auth = { kind: 'bearer', realm: `${tokens.url}/jwt/auth`, expiresInSeconds: 300 } as const;
  const registry: FakeRegistry = await startFakeRegistry({ auth });
  return {
    registry,
    secrets,
    with(credentials: object, { tell, sources = [], runs, env = {}, renewedAfterMs = 5 * minute }: More): StartedKind {
      const all = [tokens, ...sources];
      return {
        registry,
        entry: entryOf(registry, credentials, [tokens.host]),
        env,
        sources: all,
        asked: async () => [
          ...all.map(({ asked }) => asked.filter(isForProof).length),
          ...(runs ? [await runs()] : []),
        ],
        renewedAfterMs,
        changeSecret: async (secret, { isTold }) => {
          secrets.accepted = secret;
          registry.auth.revokeTokens();
          if (!isTold) return;
          secrets.held = secret;
          await tell?.(secret);
        },
      };
    },
  };
}

function entryOf({ url }: FakeRegistry, credentials: object, realmHosts: readonly string[]): object {
  return { url, realmHosts, credentials: [credentials], visibility: 'service', allowAnonymous: true };
}

function passwordIn(authorization = '', username: string): string | undefined {
  const pair = Buffer.from(authorization.replace('Basic ', ''), 'base64').toString('utf8');
  return pair.startsWith(`${username}:`) ? pair.slice(username.length + 1) : undefined;
}

/** Google's library asks its metadata service for more than the token. */
function isForProof({ url }: SourceRequest): boolean {
  return !url.pathname.startsWith('/computeMetadata/') || url.pathname.endsWith('/token');
}

function metadataAbout({ pathname }: URL, { held }: Secrets, clock: ManualClock): SourceAnswer {
  const headers = { 'metadata-flavor': 'Google' };
  const said = new Map<string, object | string>([
    ['universe/universe-domain', 'googleapis.com'],
    ['project/project-id', 'project'],
    // The library reckons with the machine's clock.
    [
      'instance/service-accounts/default/token',
      { access_token: held, expires_in: Math.round((clock.now() + hour - Date.now()) / 1_000), token_type: 'Bearer' },
    ],
  ]).get(pathname.replace('/computeMetadata/v1/', ''));
  return { status: said === undefined ? 404 : 200, body: said ?? '', headers };
}

function ecrToken({ held }: Secrets, clock: ManualClock) {
  const authorizationToken = Buffer.from(`AWS:${held}`).toString('base64');
  return { authorizationToken, expiresAt: (clock.now() + 12 * hour) / 1_000 };
}
