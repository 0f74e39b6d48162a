import { isIP } from 'node:net';
import { getDomain } from 'tldts';
import { UpstreamError } from '../../../oci/errors.ts';
import { hostAndPort, hostMatcher } from '../../transport/hosts.ts';

/**
 * Why a registry at `registry` may not name `realm` for tokens; undefined if it may: the same host and port, a host of the same registrable
 * domain, or a host in `realmHosts`; over https unless the registry itself is http. Addresses and `localhost` have no registrable domain.
 *
 * Source: CVE-2026-33540 (distribution sent credentials to any realm), CVE-2019-10214 (tokens over http). Pure.
 */
export function realmObjection(realm: URL, registry: URL, realmHosts: readonly string[]): RealmObjection | undefined {
  if (realm.username !== '' || realm.password !== '') return 'credentials-in-url';
  if (realm.protocol !== 'https:' && registry.protocol !== 'http:') return 'plain-http';
  if (hostAndPort(realm) === hostAndPort(registry) || hostMatcher(realmHosts)(realm)) return undefined;
  const domain = registrableDomain(realm);
  return domain !== undefined && domain === registrableDomain(registry) ? undefined : 'foreign-host';
}

export type RealmObjection = 'credentials-in-url' | 'plain-http' | 'foreign-host';

const inWords: Readonly<Record<RealmObjection, string>> = {
  'credentials-in-url': 'a URL with credentials in it',
  'plain-http': 'which is not https, though the registry is',
  'foreign-host': 'which is neither of its domain nor in realmHosts',
};

/** The error for a realm that gets no credentials. */
export function untrusted(realm: URL, registry: URL, objection: RealmObjection): UpstreamError {
  const address = `${realm.protocol}//${realm.host}`;
  return new UpstreamError('misbehaving', `${registry.host} issues its tokens at ${address}, ${inWords[objection]}`);
}

/** By the public suffix list with its private part, so that two customers of one cloud are different domains. */
function registrableDomain({ hostname }: URL): string | undefined {
  if (isIP(hostname.replace(/^\[|\]$/g, '')) !== 0) return undefined;
  return getDomain(hostname, { allowPrivateDomains: true }) ?? undefined;
}
