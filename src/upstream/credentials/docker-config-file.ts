import type { Secret } from './credentials.ts';

/** The part of a Docker `config.json` that is about credentials. */
export interface DockerConfig {
  readonly auths: ReadonlyMap<string, Secret>;
  readonly credHelpers: ReadonlyMap<string, string>;
  readonly credsStore: string | undefined;
}

/** A helper's name becomes part of a program's: it may not lead elsewhere. */
const helperGrammar = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/** @throws Error when `text` is no such file; its message holds nothing of it. */
export function parseDockerConfig(text: string): DockerConfig {
  const file = objectOf(parseJson(text));
  if (!file) throw new Error('it is not a JSON object');
  return {
    auths: mapOf(objectOf(file['auths']), secretIn),
    credHelpers: mapOf(objectOf(file['credHelpers']), helperName),
    credsStore: helperName(file['credsStore']),
  };
}

/** The helper that keeps the credentials of `server`; one of its own beats the store. */
export function helperFor({ credHelpers, credsStore }: DockerConfig, server: string): string | undefined {
  return lookUp(credHelpers, server) ?? credsStore;
}

export function secretFor({ auths }: DockerConfig, server: string): Secret | undefined {
  return lookUp(auths, server);
}

/** Keys are written as hosts or as URLs: `ghcr.io`, `https://ghcr.io`, `https://index.docker.io/v1/`. */
function lookUp<Value>(entries: ReadonlyMap<string, Value>, server: string): Value | undefined {
  const exact = entries.get(server);
  if (exact !== undefined) return exact;
  const wanted = hostOf(server);
  return [...entries].find(([key]) => hostOf(key) === wanted)?.[1];
}

/** Docker's own reading of a key (docker/cli, `ConvertToHostname`). */
function hostOf(key: string): string {
  const host = key
    .replace(/^https?:\/\//, '')
    .replace(/\/.*$/, '')
    .toLowerCase();
  return host === 'docker.io' ? 'index.docker.io' : host;
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

/** `user:password`; only the first colon divides them. */
function fromPair(pair: string): Secret | undefined {
  const colon = pair.indexOf(':');
  if (colon <= 0) return undefined;
  // Docker pads with zero bytes (docker/cli, `decodeAuth`).
  return { kind: 'basic', username: pair.slice(0, colon), password: pair.slice(colon + 1).replace(/\0+$/, '') };
}

function helperName(value: unknown): string | undefined {
  return isText(value) && helperGrammar.test(value) ? value : undefined;
}

function mapOf<Value>(
  object: Readonly<Record<string, unknown>> | undefined,
  parse: (value: unknown) => Value | undefined,
): ReadonlyMap<string, Value> {
  const entries = new Map<string, Value>();
  for (const [key, raw] of Object.entries(object ?? {})) {
    const value = parse(raw);
    if (value !== undefined) entries.set(key, value);
  }
  return entries;
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return isObject(value) ? value : undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
