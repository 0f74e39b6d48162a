import { isIP } from 'node:net';
import { getDomain } from 'tldts';
import { hostAndPort, hostMatcher } from '../hosts.ts';

/**
 * Whether a registry at `registry` may send us to `realm` for a token: the same host and port, a host of the same registrable
 * domain, or one the operator listed; over https unless the registry itself is http. Addresses and `localhost` have no registrable domain.
 *
 * Source: CVE-2026-33540 (distribution sent credentials to any realm), CVE-2019-10214 (tokens over http). Pure.
 */
export function isTrustedRealm(realm: URL, registry: URL, realmHosts: readonly string[]): boolean {
  if (realm.username !== '' || realm.password !== '') return false;
  if (realm.protocol !== 'https:' && registry.protocol !== 'http:') return false;
  if (hostAndPort(realm) === hostAndPort(registry) || hostMatcher(realmHosts)(realm)) return true;
  const domain = registrableDomain(realm);
  return domain !== undefined && domain === registrableDomain(registry);
}

/** By the public suffix list with its private part, so that two customers of one cloud are no relatives. */
function registrableDomain({ hostname }: URL): string | undefined {
  if (isIP(hostname.replace(/^\[|\]$/g, '')) !== 0) return undefined;
  return getDomain(hostname, { allowPrivateDomains: true }) ?? undefined;
}
