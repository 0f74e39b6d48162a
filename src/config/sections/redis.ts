import { z } from 'zod';
import { chosenSecret, count, path, shortName, text, type Secret } from './values.ts';

const hostPortGrammar = /^(?:([A-Za-z0-9._-]+|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]+)|\[([0-9A-Fa-f:.]+)\]):([0-9]{1,5})$/;

/** `redis.example:6379`, `[::1]:6379`, and as it is composed of an address: `::1:6379`. */
function hostAndPort() {
  return z
    .string()
    .meta({ title: 'host and port', pattern: `${hostPortGrammar.source}|\\$\\{` })
    .transform((given, context) => {
      const [, name, address, port] = hostPortGrammar.exec(given) ?? [];
      const host = name ?? address;
      if (host !== undefined && Number(port) <= 65_535) return { host, port: Number(port) };
      context.addIssue('expected a host and a port, such as "redis-0.redis:6379"');
      return z.NEVER;
    });
}

const tls = z
  .strictObject({
    caFile: path()
      .describe("CA certificates to trust instead of the system's (PEM); re-read for each connection.")
      .optional(),
  })
  .describe('Uses TLS, also towards Sentinels. A `rediss://` URL does so too.');

/** The keys that say where Redis is. Exactly one of `url`, `urlFile`, `sentinels` and `nodes` is given. */
export const redisKeys = {
  url: text()
    .describe(
      'One Redis server, such as `redis://host:6379/0`; `rediss://` for TLS. It may hold a user and a password.',
    )
    .optional(),
  urlFile: path().describe('A file with the URL, instead of `url`; re-read for each connection.').optional(),
  sentinels: z
    .array(hostAndPort())
    .min(1, 'expected at least one')
    .describe('Sentinels, such as `sentinel-0:26379`, instead of `url`.')
    .optional(),
  name: text().describe('The name of the primary that the Sentinels watch.').optional(),
  sentinelUsername: text().describe('The user name for the Sentinels.').optional(),
  sentinelPassword: text().describe('The password for the Sentinels.').optional(),
  sentinelPasswordFile: path().describe('A file with it, instead of `sentinelPassword`.').optional(),
  nodes: z
    .array(hostAndPort())
    .min(1, 'expected at least one')
    .describe('Nodes of a Redis Cluster, instead of `url`; the others are found by themselves.')
    .optional(),
  username: text().describe('The user of the ACL. Default: the one in the URL, or `default`.').optional(),
  password: text().describe('The password.').optional(),
  passwordFile: path()
    .describe('A file with the password, instead of `password`; re-read for each connection.')
    .optional(),
  database: count({ least: 0, most: 65_535 }).describe('The database. Default: the one in the URL, or 0.').optional(),
  keyPrefix: shortName().describe('All keys begin with it. Default: `layerwell`.').optional(),
  tls: tls.optional(),
};

export type RedisKeys = z.output<z.ZodObject<typeof redisKeys>>;

/** Where Redis is, and who we are there. */
export interface RedisConfig {
  readonly place:
    | { readonly kind: 'single'; readonly url: Secret }
    | {
        readonly kind: 'sentinel';
        readonly sentinels: RedisKeys['sentinels'] & {};
        readonly name: string;
        readonly username: string | undefined;
        readonly password: Secret | undefined;
      }
    | { readonly kind: 'cluster'; readonly nodes: RedisKeys['nodes'] & {} };
  readonly username: string | undefined;
  readonly password: Secret | undefined;
  readonly database: number | undefined;
  readonly keyPrefix: string;
  /** Absent: no TLS, unless the URL says so. */
  readonly tls: { readonly caFile?: string | undefined } | undefined;
}

/** The keys as one place of Redis. Contradictions are issues of the context. */
export function redisOf(keys: RedisKeys, context: z.RefinementCtx): RedisConfig {
  const { username, password, passwordFile, database, keyPrefix = 'layerwell', tls: secured } = keys;
  return {
    place: placeOf(keys, context),
    username,
    password: chosenSecret({ key: 'password', text: password, file: passwordFile }, context),
    database,
    keyPrefix,
    tls: secured,
  };
}

function placeOf(keys: RedisKeys, context: z.RefinementCtx): RedisConfig['place'] {
  const { url, urlFile, sentinels, name, nodes, database } = keys;
  const report = (key: string, message: string) => context.addIssue({ code: 'custom', path: [key], message });
  const given = [url ?? urlFile, sentinels, nodes].filter((place) => place !== undefined);
  if (given.length === 0) report('url', 'missing: expected url, urlFile, sentinels or nodes');
  if (given.length > 1) report(nodes ? 'nodes' : 'sentinels', 'expected only one of url, urlFile, sentinels and nodes');
  const ofSentinels = ['name', 'sentinelUsername', 'sentinelPassword', 'sentinelPasswordFile'] as const;
  if (!sentinels)
    for (const key of ofSentinels) if (keys[key] !== undefined) report(key, 'only allowed with sentinels');
  if (sentinels && name === undefined) report('name', 'missing: the name of the primary that the Sentinels watch');
  if (nodes && database !== undefined && database !== 0) report('database', 'a Cluster has database 0 only');
  if (url !== undefined && !isRedisUrl(url)) report('url', 'expected a URL such as redis://host:6379/0');
  if (sentinels) {
    const secret = { key: 'sentinelPassword', text: keys.sentinelPassword, file: keys.sentinelPasswordFile };
    const password = chosenSecret(secret, context);
    return { kind: 'sentinel', sentinels, name: name ?? '', username: keys.sentinelUsername, password };
  }
  if (nodes) return { kind: 'cluster', nodes };
  const chosen = chosenSecret({ key: 'url', text: url, file: urlFile }, context);
  return { kind: 'single', url: chosen ?? { kind: 'text', text: '' } };
}

function isRedisUrl(given: string): boolean {
  const url = URL.parse(given);
  return url !== null && /^rediss?:$/.test(url.protocol) && url.hostname !== '' && /^\/?\d{0,5}$/.test(url.pathname);
}
