import { readLongSecret, readPassword, readSecret, readText, readToken } from '../config/loading/files.ts';
import { inWords, type Problem } from '../config/loading/problems.ts';
import type { Config, CredentialsConfig } from '../config/schema.ts';
import { leastSecretBytes } from '../config/sections/cluster.ts';
import { signingKey } from '../events/webhooks/signature.ts';
import { Certificate } from '../http/server/certificate.ts';
import { parseDockerConfig } from '../upstream/credentials/kinds/docker-config-file.ts';

/** A key that names a file, and the function that reads it. */
interface NamedFile {
  readonly path: readonly (string | number)[];
  readonly read: () => Promise<unknown>;
}

/**
 * The problems of the files that a running mirror would read only when it needs them: secrets, and its own certificate. Certificates
 * towards upstreams are not among them: upstreamEntries reads those.
 */
export async function fileProblems(config: Config): Promise<readonly string[]> {
  const files = [
    ...certificateOf(config),
    ...managementFiles(config),
    ...credentialFiles(config),
    ...clusterFiles(config),
    ...eventFiles(config),
  ];
  const problems = await Promise.all(files.map(problemsOf));
  return problems.flat().map(inWords);
}

async function problemsOf({ path, read }: NamedFile): Promise<readonly Problem[]> {
  try {
    await read();
    return [];
  } catch (cause) {
    return [{ path, message: cause instanceof Error ? cause.message : String(cause) }];
  }
}

function certificateOf({ listen: { tls } }: Config): readonly NamedFile[] {
  const read = async () => tls && new Certificate(tls, { report: () => {} }).current();
  return [{ path: ['listen', 'tls'], read }];
}

function managementFiles({ management: { tokenFile } }: Config): readonly NamedFile[] {
  const read = async () => tokenFile && readToken(tokenFile, leastSecretBytes);
  return [{ path: ['management', 'tokenFile'], read }];
}

function credentialFiles({ upstreams }: Config): readonly NamedFile[] {
  return upstreams.flatMap(({ name, credentials, mirrors }) => {
    const own = credentials.flatMap((one, index) => filesOf(one, ['upstreams', name, 'credentials', index]));
    const ofMirrors = mirrors.flatMap((mirror, position) =>
      mirror.credentials.flatMap((one, index) =>
        filesOf(one, ['upstreams', name, 'mirrors', position, 'credentials', index]),
      ),
    );
    return [...own, ...ofMirrors];
  });
}

function filesOf(config: CredentialsConfig, path: readonly (string | number)[]): readonly NamedFile[] {
  switch (config.kind) {
    case 'basic':
      return [{ path: [...path, 'passwordFile'], read: () => readPassword(config.username, config.password) }];
    case 'bearer-token':
    case 'gitlab':
      return [{ path: [...path, 'tokenFile'], read: () => readSecret(config.token) }];
    case 'google': {
      const { keyFile } = config;
      return keyFile === undefined ? [] : [{ path: [...path, 'keyFile'], read: () => readText(keyFile) }];
    }
    case 'docker-config':
      return [{ path: [...path, 'configFile'], read: () => readDockerConfig(config.configFile) }];
    case 'ecr':
    case 'ecr-public':
    case 'exec':
      return [];
  }
}

function clusterFiles({ index, cluster }: Config): readonly NamedFile[] {
  const ofIndex = index.driver === 'redis' ? redisFiles(index.redis, ['index']) : [];
  if (cluster === undefined) return ofIndex;
  const { secret, previousSecret, redis, usesRedisOfIndex, listen } = cluster;
  const { caFile } = cluster.tls;
  const tls = listen.tls;
  return [
    ...ofIndex,
    ...(usesRedisOfIndex ? [] : redisFiles(redis, ['cluster', 'redis'])),
    { path: ['cluster', 'secretFile'], read: () => readLongSecret(secret, leastSecretBytes) },
    {
      path: ['cluster', 'previousSecretFile'],
      read: async () => previousSecret && readLongSecret(previousSecret, leastSecretBytes),
    },
    { path: ['cluster', 'tls', 'caFile'], read: async () => caFile && readText(caFile) },
    {
      path: ['cluster', 'listen', 'tls'],
      read: async () => tls && new Certificate(tls, { report: () => {} }).current(),
    },
  ];
}

function eventFiles({ events: { webhooks } }: Config): readonly NamedFile[] {
  return webhooks.flatMap(({ secret, previousSecret, tls: { caFile } }, index) => {
    const path = ['events', 'webhooks', index];
    return [
      { path: [...path, 'secretFile'], read: async () => signingKey(await readSecret(secret)) },
      {
        path: [...path, 'previousSecretFile'],
        read: async () => previousSecret && signingKey(await readSecret(previousSecret)),
      },
      { path: [...path, 'tls', 'caFile'], read: async () => caFile && readText(caFile) },
    ];
  });
}

type RedisConfig = NonNullable<Config['cluster']>['redis'];

function redisFiles({ place, password, tls }: RedisConfig, path: readonly string[]): readonly NamedFile[] {
  const caFile = tls?.caFile;
  return [
    ...placeFiles(place, path),
    { path: [...path, 'passwordFile'], read: async () => password && readSecret(password) },
    { path: [...path, 'tls', 'caFile'], read: async () => caFile && readText(caFile) },
  ];
}

function placeFiles(place: RedisConfig['place'], path: readonly string[]): readonly NamedFile[] {
  switch (place.kind) {
    case 'single':
      return [{ path: [...path, 'urlFile'], read: () => readSecret(place.url) }];
    case 'sentinel': {
      const { password } = place;
      return [{ path: [...path, 'sentinelPasswordFile'], read: async () => password && readSecret(password) }];
    }
    case 'cluster':
      return [];
  }
}

async function readDockerConfig(file: string): Promise<void> {
  const text = await readText(file);
  try {
    parseDockerConfig(text);
  } catch (cause) {
    throw new Error(`${file} is not a Docker configuration: ${cause instanceof Error ? cause.message : 'unreadable'}`, {
      cause,
    });
  }
}
