import { BlockList, isIP } from 'node:net';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { getCACertificates } from 'node:tls';
import { withoutBrackets } from '../../oci/reference.ts';
import { hostMatcher } from './hosts.ts';
import type { UpstreamProxy, UpstreamSettings } from '../settings.ts';

/** The proxy for a URL; undefined for a direct connection. */
export type ProxyOf = (url: URL) => string | undefined;

/**
 * NO_PROXY with the rules of curl and Go: a name also covers its subdomains, with or without a leading dot; an address block covers its
 * addresses, also as IPv4-mapped IPv6 (axios CVE-2026-44492); an entry with a port covers only that port.
 */
export function createProxyChoice(proxy: UpstreamProxy): ProxyOf {
  const isExcepted = exceptionsOf(
    proxy.except.map((entry) => entry.trim().toLowerCase()).filter((entry) => entry !== ''),
  );
  return (url) => {
    const through = url.protocol === 'https:' ? proxy.https : proxy.http;
    return through === undefined || isExcepted(url) ? undefined : through;
  };
}

function exceptionsOf(entries: readonly string[]): (url: URL) => boolean {
  if (entries.includes('*')) return () => true;
  const blocks = new BlockList();
  for (const entry of entries) addBlock(blocks, entry);
  const named = entries.filter((entry) => !entry.includes('/')).map((entry) => nameOrAddress(entry));
  return (url) => inBlocks(blocks, addressOf(url)) || named.some((matches) => matches(url));
}

function addBlock(blocks: BlockList, entry: string): void {
  const [network = '', prefix] = entry.split('/');
  const family = isIP(network);
  if (prefix === undefined || family === 0 || !/^\d{1,3}$/.test(prefix)) return;
  blocks.addSubnet(network, Math.min(Number(prefix), family === 4 ? 32 : 128), family === 4 ? 'ipv4' : 'ipv6');
}

function inBlocks(blocks: BlockList, address: string): boolean {
  const family = isIP(address);
  return family !== 0 && blocks.check(address, family === 4 ? 'ipv4' : 'ipv6');
}

function nameOrAddress(entry: string): (url: URL) => boolean {
  const [, host = entry, port] = /^(.*?[^:])(?::(\d+))?$/.exec(entry) ?? [];
  const address = isIP(entry) === 0 ? withoutBrackets(host) : entry;
  if (isIP(address) !== 0) {
    const only = new BlockList();
    only.addAddress(address, isIP(address) === 4 ? 'ipv4' : 'ipv6');
    return (url) => inBlocks(only, addressOf(url)) && hasPort(url, isIP(entry) === 0 ? port : undefined);
  }
  const name = host.replace(/^\*?\./, '');
  return (url) => (url.hostname === name || url.hostname.endsWith(`.${name}`)) && hasPort(url, port);
}

function hasPort(url: URL, port: string | undefined): boolean {
  return port === undefined || hostMatcher([`${url.hostname}:${port}`])(url);
}

function addressOf(url: URL): string {
  return withoutBrackets(url.hostname);
}

/**
 * The agents with which the SDKs of AWS and Google reach their APIs: with the upstream's proxy and CA. Certificates are always verified.
 * Addresses are not checked, because the operator's configuration chose them, not an upstream's answer.
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
