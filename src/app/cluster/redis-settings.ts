import { readSecret, readText } from '../../config/loading/files.ts';
import type { Config } from '../../config/schema.ts';
import type { RedisSettings } from '../../cluster/redis/settings.ts';

type ClusterConfig = NonNullable<Config['cluster']>;
export type RedisConfig = ClusterConfig['redis'];
type SecretConfig = NonNullable<RedisConfig['password']>;

/** Where Redis is. Its secrets and certificates are read for each connection, because they may change. */
export function redisSettingsOf({ place, username, password, database, tls }: RedisConfig): RedisSettings {
  const caFile = tls?.caFile;
  return {
    place: placeOf(place),
    username,
    readPassword: readerOf(password),
    database,
    tls: tls && { readCa: caFile === undefined ? undefined : () => readText(caFile) },
  };
}

function placeOf(place: RedisConfig['place']): RedisSettings['place'] {
  switch (place.kind) {
    case 'single':
      return { kind: 'single', readUrl: () => readSecret(place.url) };
    case 'sentinel': {
      const { sentinels, name, username, password } = place;
      const readSentinelPassword = readerOf(password);
      return { kind: 'sentinel', sentinels, name, sentinelUsername: username, readSentinelPassword };
    }
    case 'cluster':
      return place;
  }
}

function readerOf(secret: SecretConfig | undefined): (() => Promise<string>) | undefined {
  return secret && (() => readSecret(secret));
}
