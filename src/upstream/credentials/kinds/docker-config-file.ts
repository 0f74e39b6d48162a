import type { Repository } from '../../../oci/reference.ts';
import type { Secret } from '../credentials.ts';
import { isJsonObject, type JsonObject, parseJsonObject } from '../../../oci/json.ts';

/** The credentials in a Docker `config.json`, by registry or namespace: `ghcr.io`, `quay.io/org`. */
export interface DockerConfig {
  readonly auths: ReadonlyMap<string, Secret>;
  readonly credHelpers: ReadonlyMap<string, string>;
  readonly credsStore: string | undefined;
}

/** A helper's name becomes part of a program's name: it may contain no path. */
const helperGrammar = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/** @throws Error when `text` is malformed; its message holds no part of it. */
export function parseDockerConfig(text: string): DockerConfig {
  const file = parseJsonObject(text);
  if (!file) throw new Error('it is not a JSON object');
  return {
    auths: byPlace(objectOf(file['auths']), secretIn),
    credHelpers: byPlace(objectOf(file['credHelpers']), helperName),
    credsStore: helperName(file['credsStore']),
  };
}

/** The helper for `server`: its own, else the store. Helpers know whole registries only. */
export function helperFor({ credHelpers, credsStore }: DockerConfig, server: string): string | undefined {
  return credHelpers.get(placeOf(server)) ?? credsStore;
}

/**
 * The secret in the file for a repository of `server`. The longest matching key wins: `quay.io/org/app` before
 * `quay.io/org` before `quay.io` (containers-auth.json(5)).
 */
export function secretFor(
  { auths }: DockerConfig,
  server: string,
  repository: Repository | undefined,
): Secret | undefined {
  const components = repository?.split('/') ?? [];
  const places = components.map((_, dropped) => components.slice(0, components.length - dropped).join('/'));
  const found = places.map((place) => auths.get(`${placeOf(server)}/${place}`)).find((secret) => secret !== undefined);
  return found ?? auths.get(placeOf(server));
}

/**
 * Keys are hosts, URLs, or hosts with a namespace: `ghcr.io`, `https://ghcr.io`, `https://index.docker.io/v1/`, `quay.io/org`. Of a URL, and
 * of a host with an API version, only the host counts (docker/cli, `ConvertToHostname`).
 */
function placeOf(key: string): string {
  const [, scheme, host = '', path = ''] = /^(https?:\/\/)?([^/]*)\/?(.*?)\/*$/.exec(key) ?? [];
  const isNamespace = scheme === undefined && path !== '' && path !== 'v1' && path !== 'v2';
  return isNamespace ? `${registryOf(host)}/${path}` : registryOf(host);
}

/** Docker Hub has three names. */
function registryOf(host: string): string {
  const lower = host.toLowerCase();
  return lower === 'docker.io' || lower === 'registry-1.docker.io' ? 'index.docker.io' : lower;
}

function secretIn(value: unknown): Secret | undefined {
  const entry = objectOf(value);
  if (!entry) return undefined;
  const { identitytoken, registrytoken, auth, username, password } = entry;
  if (isText(identitytoken)) return { kind: 'identity-token', token: identitytoken };
  if (isText(registrytoken)) return { kind: 'registry-token', token: registrytoken };
  if (isText(auth)) return fromPair(Buffer.from(auth, 'base64').toString('utf8'));
  return isText(username) && isText(password) ? { kind: 'basic', username, password } : undefined;
}

/** `user:password`, split at the first colon. */
function fromPair(pair: string): Secret | undefined {
  const colon = pair.indexOf(':');
  if (colon <= 0) return undefined;
  // Docker pads with zero bytes (docker/cli, `decodeAuth`).
  return { kind: 'basic', username: pair.slice(0, colon), password: pair.slice(colon + 1).replace(/\0+$/, '') };
}

function helperName(value: unknown): string | undefined {
  return isText(value) && helperGrammar.test(value) ? value : undefined;
}

/** If two keys mean the same place, the first wins. */
function byPlace<Value>(
  object: JsonObject | undefined,
  parse: (value: unknown) => Value | undefined,
): ReadonlyMap<string, Value> {
  const entries = new Map<string, Value>();
  for (const [key, raw] of Object.entries(object ?? {})) {
    const value = parse(raw);
    if (value !== undefined && !entries.has(placeOf(key))) entries.set(placeOf(key), value);
  }
  return entries;
}

function objectOf(value: unknown): JsonObject | undefined {
  return isJsonObject(value) ? value : undefined;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}
