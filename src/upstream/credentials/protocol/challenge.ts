import { isIP } from 'node:net';
import { getDomain } from 'tldts';
import { UpstreamError } from '../../../oci/errors.ts';
import { withoutBrackets } from '../../../oci/reference.ts';
import { hostAndPort, hostMatcher } from '../../transport/hosts.ts';

/** One challenge of WWW-Authenticate (RFC 9110 §11.6.1). Names are lower-case. */
export interface Challenge {
  readonly scheme: string;
  readonly params: ReadonlyMap<string, string>;
}

export interface BearerDemand {
  readonly kind: 'bearer';
  readonly realm: URL;
  readonly service: string | undefined;
  readonly scope: string | undefined;
}

/** The authentication that a registry demands, if the mirror supports it. */
export type Demand = BearerDemand | { readonly kind: 'basic' };

const separators = /[\s,]+/y;
const token = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const equals = /\s*=\s*/y;
const quoted = /"((?:[^"\\]|\\[\s\S])*)"/y;
/** Wider than RFC 9110's token: registries send unquoted URLs. */
const unquoted = /[^\s,"]*/y;
const token68 = /[ \t]+[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))/y;
const anything = /[\s\S]/y;
/** Longer headers are cut: no registry sends them, and parsing unclosed quotes takes quadratic time. */
const maxLength = 8 * 1024;

/**
 * Parses WWW-Authenticate: several header lines, several challenges in one line (Codeberg sends Bearer and Basic together), quoted
 * strings with escapes, unquoted values. Malformed parts are skipped.
 */
export function parseChallenges(header: string | readonly string[] | undefined): readonly Challenge[] {
  const text = (typeof header === 'string' ? header : (header ?? []).join(', ')).slice(0, maxLength);
  const challenges: { scheme: string; params: Map<string, string> }[] = [];
  let at = 0;
  const eat = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found) at += found[0].length;
    return found;
  };
  while (at < text.length) {
    if (eat(separators)) continue;
    const name = eat(token)?.[0].toLowerCase();
    if (name === undefined) {
      if (!eat(quoted)) eat(anything);
    } else if (eat(equals)) {
      challenges.at(-1)?.params.set(name, valueOf(eat(quoted)) ?? eat(unquoted)?.[0] ?? '');
    } else {
      challenges.push({ scheme: name, params: new Map() });
      eat(token68);
    }
  }
  return challenges;
}

function valueOf(quotedString: RegExpExecArray | null): string | undefined {
  return quotedString?.[1]?.replace(/\\([\s\S])/g, '$1');
}

/**
 * Bearer before Basic; Negotiate, NTLM and the like are ignored. A Bearer challenge whose realm is no URL means Basic (ECR,
 * Artifactory).
 */
export function demandOf(challenges: readonly Challenge[]): Demand | undefined {
  const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
  const realm = webUrl(bearer?.params.get('realm'));
  if (bearer && realm) {
    return {
      kind: 'bearer',
      realm,
      service: bearer.params.get('service'),
      scope: scopesIn(bearer.params.get('scope')),
    };
  }
  return bearer || challenges.some(({ scheme }) => scheme === 'basic') ? { kind: 'basic' } : undefined;
}

/** Scopes separated by one space (distribution, "Token Scope Documentation"). @returns undefined for none. */
function scopesIn(text = ''): string | undefined {
  const scopes = text.split(/\s+/).filter((scope) => scope !== '');
  return scopes.length === 0 ? undefined : scopes.join(' ');
}

function webUrl(text: string | undefined): URL | undefined {
  const url = text === undefined ? null : URL.parse(text);
  // RFC 1035 §2.3.4: a longer name is no host.
  if (!url || url.hostname.length > 253) return undefined;
  return url.protocol === 'https:' || url.protocol === 'http:' ? url : undefined;
}

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
  if (isIP(withoutBrackets(hostname)) !== 0) return undefined;
  return getDomain(hostname, { allowPrivateDomains: true }) ?? undefined;
}
