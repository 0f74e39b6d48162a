import type { UpstreamConfig } from './config/schema.ts';
import type { UpstreamSettings } from './upstream/settings.ts';

/** What the upstream's client takes, out of what the operator said. */
export function upstreamSettings(config: UpstreamConfig, { version }: { readonly version: string }): UpstreamSettings {
  return {
    url: config.url,
    aliases: config.aliases,
    realmHosts: config.realmHosts,
    redirectHosts: config.redirectHosts,
    credentials: [],
    repositoryPrefix: config.repositoryPrefix,
    timeouts: config.timeouts,
    tls: { insecureSkipVerify: config.tls.insecureSkipVerify },
    proxy: config.proxy,
    maxConnections: config.maxConnections,
    userAgent: config.userAgent ?? `layerwell/${version}`,
  };
}
