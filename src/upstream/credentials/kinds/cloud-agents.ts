import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { getCACertificates } from 'node:tls';
import { createProxyChoice } from '../../transport/proxy.ts';
import type { UpstreamSettings } from '../../settings.ts';

/**
 * How the SDKs of AWS and Google reach their own APIs: by the upstream's proxy, trusting what the upstream's connections trust.
 * Certificates are always verified. Their addresses are not looked at: who calls them is the operator's configuration, no upstream's answer.
 */
export type CloudAgents = (url: URL) => HttpAgent;

export function createCloudAgents({ proxy, tls }: Pick<UpstreamSettings, 'proxy' | 'tls'>): CloudAgents {
  const proxyOf = createProxyChoice(proxy);
  const trusted = tls.ca === undefined ? {} : { ca: [...getCACertificates('default'), tls.ca] };
  return (url) => {
    const through = proxyOf(url);
    return url.protocol === 'https:'
      ? new HttpsAgent({ ...trusted, ...(through !== undefined && { proxyEnv: { HTTPS_PROXY: through } }) })
      : new HttpAgent(through === undefined ? {} : { proxyEnv: { HTTP_PROXY: through } });
  };
}
