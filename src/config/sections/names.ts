import { isIP, isIPv6 } from 'node:net';
import { z } from 'zod';
import { text } from './values.ts';

const label = '[a-z0-9](?:[a-z0-9-]*[a-z0-9])?';
const hostName = `(?:${label}(?:\\.${label})*|\\[[0-9a-f:.]+\\])`;
const hostPort = '(?::[0-9]{1,5})?';
const hostGrammar = new RegExp(`^${hostName}${hostPort}$`);
const patternLabel = `(?:${label}|\\*{1,2})`;
const patternGrammar = new RegExp(`${hostGrammar.source}|^${patternLabel}(?:\\.${patternLabel})*${hostPort}$`);

/** Whether an upstream's key is a pattern. */
export function isPattern(name: string): boolean {
  return name.includes('*');
}

/** Whether a pattern matches every host: `**`, `*.*`. */
export function admitsAnyHost(name: string): boolean {
  return isPattern(name) && /^[*.]+(?::[0-9]+)?$/.test(name);
}

/** The hosts that an upstream's key stands for: one, those that match a pattern, or any. */
export type HostScope = 'one' | 'pattern' | 'any';

export function scopeOf(name: string): HostScope {
  if (!isPattern(name)) return 'one';
  return admitsAnyHost(name) ? 'any' : 'pattern';
}

/** The key of Docker Hub's entry. */
export const hubName = 'docker.io';
const hubAliases = ['index.docker.io', 'registry-1.docker.io'];
const hubRealm = 'auth.docker.io';

type NamedEntries = Readonly<Record<string, { readonly aliases: readonly string[] }>>;

/** The other names of an upstream. Docker Hub also has its well-known names, unless another entry uses them. */
export function aliasesOf(name: string, upstreams: NamedEntries): readonly string[] {
  const aliases = upstreams[name]?.aliases ?? [];
  if (name !== hubName) return aliases;
  const taken = new Set(Object.entries(upstreams).flatMap(([key, entry]) => [key, ...entry.aliases]));
  return [...aliases, ...hubAliases.filter((alias) => !taken.has(alias))];
}

/** The hosts besides its own that may receive its credentials. With its default `url`, Docker Hub's token realm is included. */
export function realmHostsOf(
  name: string,
  { url, realmHosts }: { readonly url?: string | undefined; readonly realmHosts: readonly string[] },
): readonly string[] {
  return name === hubName && url === undefined ? [...new Set([...realmHosts, hubRealm])] : realmHosts;
}

/** `ghcr.io`, `localhost:5000`, `[::1]:5000`. */
export function host() {
  return named('host', hostGrammar, 'expected a host such as "ghcr.io" or "localhost:5000", in lower case');
}

/** An address to listen on. An IPv6 address may be in brackets, as in a URL: `[::]`. */
export function listenAddress() {
  return text().transform((given) => {
    const [, address = ''] = /^\[(.+)\]$/.exec(given) ?? [];
    return isIPv6(address) ? address : given;
  });
}

/** Where others reach a listener, such as `http://10.0.0.7:5002`. */
export function origin() {
  return text()
    .transform(withBrackets)
    .refine(isOrigin, 'expected an origin such as "http://10.0.0.7:5002" or "http://[fd00::7]:5002"');
}

/**
 * Adds the brackets of an IPv6 address: `http://${env:POD_IP}:5002` is `http://fd00::7:5002` in a pod with such an address. What follows the
 * last colon is the port, if the rest is an address. Pure.
 */
function withBrackets(url: string): string {
  const [, scheme = '', authority = '', slash = ''] = /^(https?:\/\/)([0-9A-Fa-f:.]+)(\/?)$/i.exec(url) ?? [];
  const [, address = '', port = ''] = /^(.+):([0-9]{1,5})$/.exec(authority) ?? [];
  if (isIPv6(address)) return `${scheme}[${address}]:${port}${slash}`;
  return isIPv6(authority) ? `${scheme}[${authority}]${slash}` : url;
}

function isOrigin(value: string): boolean {
  const url = URL.parse(value);
  const isBare = url !== null && (url.href === `${url.origin}/` || url.href === url.origin);
  return isBare && (url.protocol === 'http:' || url.protocol === 'https:');
}

/** A host, or a pattern such as `*.pkg.dev`: `*` stands for exactly one label, `**` for any number of them. */
export function hostOrPattern() {
  return named(
    'host or pattern',
    patternGrammar,
    'expected a host such as "ghcr.io", or a pattern such as "*.pkg.dev" whose * stands for a whole label, in lower case',
  );
}

/** As {@link hostOrPattern}, or `http://host:port`: exactly that host, by plain HTTP. */
export function redirectHost() {
  return named(
    'host, pattern or http://host:port',
    new RegExp(`${patternGrammar.source}|^http://${hostName}${hostPort}$`),
    'expected a host such as "minio.internal:9000", a pattern such as "*.cdn.example", or "http://minio.internal:9000", in lower case',
  );
}

/** An address, or a CIDR block such as `10.0.0.0/8`. */
export function addressBlock() {
  return z
    .string()
    .refine(isAddressBlock, 'expected an address or a CIDR block such as "10.0.0.0/8" or "fd00::/8"')
    .meta({ title: 'address or CIDR block' });
}

function isAddressBlock(text: string): boolean {
  const [, address = '', bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const version = isIP(address);
  return version !== 0 && Number(bits ?? 0) <= (version === 4 ? 32 : 128);
}

/** A glob over repositories: `*` within one component, `**` over any number of them. */
export function repositoryGlob() {
  return named(
    'glob',
    /^[a-z0-9._/*-]+$/,
    'expected a glob over repositories such as "library/*" or "**"; only * and ** are special',
  );
}

/** A glob over `<upstream>/<repository>`. */
export function cachedGlob() {
  return named(
    'glob',
    /^[a-z0-9.:_/*-]+$/,
    'expected a glob over upstream/repository such as "docker.io/library/*"; only * and ** are special',
  );
}

/** A glob over `<upstream>/<repository>:<tag>`. */
export function tagGlob() {
  return named(
    'glob',
    /^[a-z0-9.:_/*-]+:[A-Za-z0-9._*-]+$|^\*\*$/,
    'expected a glob over upstream/repository:tag such as "**:latest"; only * and ** are special',
  );
}

const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';

/** Components to prepend to a repository's name, such as `docker-hub` or `team/cache`. */
export function repositoryPrefix() {
  return named(
    'repository',
    new RegExp(`^${component}(?:/${component})*$`),
    'expected repository components such as "docker-hub" or "team/cache", without a slash at either end',
  );
}

/** Not `z.regex`, which would put the grammar into the JSON Schema, where `${env:NAME}` must pass as well. */
function named(title: string, grammar: RegExp, problem: string) {
  return z
    .string()
    .refine((text) => grammar.test(text), problem)
    .meta({ title });
}

/** `http` or `https`, without user, query or fragment; returns the URL without a trailing slash. */
export function registryUrl() {
  return z
    .string()
    .meta({ title: 'URL' })
    .transform((text, context) => httpUrl(text, { mayHaveUser: false }, context));
}

/** As {@link registryUrl}, but it may contain the proxy's user and password. */
export function proxyUrl() {
  return z
    .string()
    .meta({ title: 'URL' })
    .transform((text, context) => httpUrl(text, { mayHaveUser: true }, context));
}

function httpUrl(text: string, rules: UrlRules, context: z.RefinementCtx): string {
  const url = URL.parse(text);
  const problem = problemOf(url, rules);
  if (url !== null && problem === undefined) return url.href.replace(/\/+$/, '');
  context.addIssue(problem ?? 'expected a URL');
  return z.NEVER;
}

interface UrlRules {
  readonly mayHaveUser: boolean;
}

function problemOf(url: URL | null, { mayHaveUser }: UrlRules): string | undefined {
  if (url?.protocol !== 'https:' && url?.protocol !== 'http:')
    return 'expected a URL such as "https://registry.example.com"';
  if (url.search !== '' || url.hash !== '') return 'expected a URL without query and fragment';
  if (!mayHaveUser && (url.username !== '' || url.password !== ''))
    return 'expected no user or password in a URL: they belong in credentials';
  return undefined;
}
