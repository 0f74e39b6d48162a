import type { Registry } from '../../clients/file-formats.ts';
import type { ReachedMirror } from '../../clients/kinds.ts';
import { loadConfig } from '../../config/loading/load.ts';
import type { Config, UpstreamConfig } from '../../config/schema.ts';
import { isPattern } from '../../config/sections/names.ts';
import { upstreams as upstreamsSchema } from '../../http/management/api/schemas.ts';
import { parseHostName } from '../../oci/reference.ts';
import { answerAs, apiOf, failure, type MirrorChoice } from '../api/client.ts';
import { authorityOf } from '../health.ts';

export interface ReachedMirrorChoice extends MirrorChoice {
  /** The mirror as its clients reach it. */
  readonly url?: string | undefined;
  /** Registries besides the upstreams. */
  readonly registry?: readonly string[] | undefined;
}

/** The mirror, and the upstream for names without a registry where that is known. */
export interface FoundMirror extends ReachedMirror {
  readonly defaultUpstream?: string;
}

/**
 * The mirror as its clients reach it: from the running mirror if `server` is given, else from the configuration. With a URL and registries
 * nothing is asked or read.
 * @throws ConfigError; ApiFailure.
 */
export async function reachedMirror(choice: ReachedMirrorChoice): Promise<FoundMirror> {
  const further = (choice.registry ?? []).map(registryNamed);
  const url = choice.url === undefined ? undefined : originOf(choice.url);
  if (choice.server !== undefined) return withRegistries(await fromApi(choice, url), further);
  if (url !== undefined && further.length > 0) return { url, registries: further, patterns: [] };
  return withRegistries(fromConfig(await loadConfig(choice), url), further);
}

async function fromApi(choice: ReachedMirrorChoice, url: string | undefined): Promise<FoundMirror> {
  if (url === undefined) throw failure('--server needs --url as well: the address at which clients pull');
  const api = await apiOf(choice);
  const { items } = answerAs(upstreamsSchema, await api('upstreams'));
  const names = items.map(({ name }) => name);
  const registries = names.filter((name) => !isPattern(name)).map((name) => ({ name }));
  return { url, registries, patterns: names.filter(isPattern) };
}

function fromConfig({ listen, upstreams, defaultUpstream }: Config, url: string | undefined): FoundMirror {
  return {
    url: url ?? listenerUrl(listen),
    registries: upstreams.filter((upstream) => !upstream.isPattern).flatMap(registriesOf),
    patterns: upstreams.filter((upstream) => upstream.isPattern).map(({ name }) => name),
    defaultUpstream,
  };
}

function listenerUrl({ host, port, tls }: Config['listen']): string {
  if (port === 0) throw failure('the configuration leaves the port open: say with --url where clients pull');
  return `${tls === undefined ? 'http' : 'https'}://${authorityOf({ host, port })}`;
}

/** An upstream and its further names. Clients write Docker Hub's own as docker.io. */
function registriesOf({ name, aliases, url, repositoryPrefix }: UpstreamConfig): readonly Registry[] {
  const names = [name, ...(name === 'docker.io' ? aliases.filter((alias) => !alias.endsWith('.docker.io')) : aliases)];
  // With a prefix the registry has other names for its repositories than the mirror.
  return names.map((one) => ({ name: one, ...(repositoryPrefix === undefined && { server: url }) }));
}

function withRegistries(mirror: FoundMirror, further: readonly Registry[]): FoundMirror {
  const known = new Set(mirror.registries.map(({ name }) => name));
  return { ...mirror, registries: [...mirror.registries, ...further.filter(({ name }) => !known.has(name))] };
}

function registryNamed(text: string): Registry {
  const name = parseHostName(text);
  if (name === undefined) throw failure(`--registry ${text}: expected a host such as "ghcr.io"`);
  return { name };
}

function originOf(text: string): string {
  const url = URL.parse(text);
  const isOrigin = url !== null && /^https?:$/.test(url.protocol) && /^\/?$/.test(url.pathname + url.search + url.hash);
  if (!isOrigin || url.username !== '') throw failure(`--url ${text}: expected a URL such as "http://127.0.0.1:5000"`);
  return url.origin;
}
