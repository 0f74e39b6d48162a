import { readPassword, readSecret, readText } from '../config/loading/files.ts';
import { ConfigError, inWords, type Problem } from '../config/loading/problems.ts';
import type { Config, CredentialsConfig, UpstreamConfig } from '../config/schema.ts';
import { readTlsFiles, type TlsTexts } from '../config/loading/tls-files.ts';
import type { AccountSettings, CredentialSettings, UpstreamSettings } from '../upstream/settings.ts';

export interface UpstreamSettingsDeps {
  /** The mirror's version, for its user agent. */
  readonly version: string;
}

/**
 * The settings of all upstreams. Certificates are read now, secrets whenever they are needed.
 * @throws ConfigError with every certificate that cannot be used.
 */
export function upstreamEntries(
  { upstreams }: Pick<Config, 'upstreams'>,
  deps: UpstreamSettingsDeps,
): ReadonlyMap<string, UpstreamSettings> {
  const problems: Problem[] = [];
  const entries = new Map<string, UpstreamSettings>();
  for (const upstream of upstreams) {
    const tls = readTlsFiles(upstream.tls);
    problems.push(...tls.problems.map(({ path, message }) => ({ path: [...placeOf(upstream), ...path], message })));
    entries.set(upstream.name, settingsOf(upstream, tls.texts, deps));
  }
  if (problems.length > 0) throw new ConfigError('the configuration', problems.map(inWords));
  return entries;
}

function placeOf({ name }: UpstreamConfig): readonly string[] {
  return ['upstreams', name, 'tls'];
}

function settingsOf(config: UpstreamConfig, texts: TlsTexts, { version }: UpstreamSettingsDeps): UpstreamSettings {
  const { url, hosts, aliases, realmHosts, redirectHosts, repositoryPrefix, timeouts, proxy, maxConnections } = config;
  return {
    url,
    hosts,
    aliases,
    realmHosts,
    redirectHosts,
    credentials: config.credentials.map(credentialSettings),
    mirrors: config.mirrors.map((mirror) => ({ ...mirror, credentials: mirror.credentials.map(credentialSettings) })),
    repositoryPrefix,
    sendTraceContext: config.sendTraceContext,
    timeouts,
    tls: { ...texts, insecureSkipVerify: config.tls.insecureSkipVerify },
    proxy,
    maxConnections,
    userAgent: config.userAgent ?? `layerwell/${version}`,
  };
}

function credentialSettings(config: CredentialsConfig): CredentialSettings {
  return { repositories: config.repositories, ...accountSettings(config) };
}

function accountSettings(config: CredentialsConfig): AccountSettings {
  switch (config.kind) {
    case 'basic':
      return {
        kind: 'basic',
        username: config.username,
        readPassword: () => readPassword(config.username, config.password),
      };
    case 'bearer-token':
      return { kind: 'bearer-token', readToken: () => readSecret(config.token) };
    case 'gitlab':
      return { kind: 'gitlab', username: config.username, readToken: () => readSecret(config.token) };
    case 'google': {
      const { keyFile } = config;
      return { kind: 'google', ...(keyFile !== undefined && { readKey: () => readText(keyFile) }) };
    }
    case 'exec': {
      const { command, args, lifetimeMs, timeoutMs } = config;
      return { kind: 'exec', command, args, lifetimeMs, timeoutMs };
    }
    case 'docker-config':
      return { kind: 'docker-config', configFile: config.configFile };
    case 'ecr':
      return { kind: 'ecr', region: config.region };
    case 'ecr-public':
      return { kind: 'ecr-public' };
  }
}
