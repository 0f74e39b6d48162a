import type { RegistryCertificates } from './registry-certificates.ts';

/** A registry as its clients see it. */
export interface Registry {
  /** As images name it, such as `docker.io`. */
  readonly name: string;
  /** Where the registry itself is. Default: `https://<name>`. */
  readonly server?: string | undefined;
}

/** What a `hosts.toml` says. */
export interface HostsFile {
  /** URLs, in the order in which they are asked. */
  readonly mirrors: readonly string[];
  readonly dialTimeoutSeconds: number;
  /** The registry itself; without it, by the address that the image names, which is what `_default` needs. */
  readonly server: string | undefined;
  /** The file with the CA certificates of mirrors with HTTPS. */
  readonly caFile: string | undefined;
  /** Those for the registry itself: containerd looks for none once there is a `hosts.toml`. */
  readonly certificates?: RegistryCertificates | undefined;
}

/** Docker Hub's registry has another name than its images; containerd takes localhost to be plain HTTP. */
export function ownServer({ name, server }: Registry): string {
  if (server !== undefined) return server;
  if (name === 'docker.io') return 'https://registry-1.docker.io';
  return /^(?:localhost|127\.[0-9.]+|\[::1\]):\d+$/.test(name) ? `http://${name}` : `https://${name}`;
}

/** The folder of a registry below `certs.d`: the colon of a port is written as underscores (containerd, docs/hosts.md). */
export function hostsFolder(name: string): string {
  return name.replace(/:(\d+)$/, '_$1_');
}

/**
 * A `hosts.toml` of containerd. Without `capabilities` containerd would also push to the mirror. containerd before 2.1 ignores
 * `dial_timeout` and waits 30 s for a host that does not answer.
 */
export function hostsToml({ mirrors, dialTimeoutSeconds, server, caFile, certificates }: HostsFile): string {
  const hosts = mirrors.map((url) => {
    const ca = caFile !== undefined && url.startsWith('https:') ? `  ca = ${quoted(caFile)}\n` : '';
    return `\n[host.${quoted(url)}]\n  capabilities = ["pull", "resolve"]\n  dial_timeout = "${dialTimeoutSeconds}s"\n${ca}`;
  });
  const ofRegistry = certificates === undefined ? '' : certificateKeys(certificates);
  return `${server === undefined ? '' : `server = ${quoted(server)}\n`}${ofRegistry}${hosts.join('')}`;
}

/** Paths are relative to the folder of the file. */
function certificateKeys({ cas, clientPairs }: RegistryCertificates): string {
  const list = (texts: readonly string[]) => `[${texts.join(', ')}]`;
  const pairs = clientPairs.map((pair) => list(pair.map(quoted)));
  const ca = cas.length === 0 ? '' : `ca = ${list(cas.map(quoted))}\n`;
  return pairs.length === 0 ? ca : `${ca}client = ${list(pairs)}\n`;
}

/** A `registries.conf` of podman, buildah, skopeo and CRI-O. They send no `ns`: the mirror learns the registry from the path. */
export function registriesConf(names: readonly string[], mirrors: readonly string[]): string {
  const tables = names.map((name) => {
    const ofMirror = mirrors.map((url) => {
      const { protocol, host } = new URL(url);
      const location = quoted(`${host}/${inPath(name)}`);
      return `\n[[registry.mirror]]\nlocation = ${location}\ninsecure = ${protocol === 'http:'}\n`;
    });
    return `\n[[registry]]\nprefix = ${quoted(name)}\nlocation = ${quoted(name)}\n${ofMirror.join('')}`;
  });
  return tables.join('');
}

/** A registry with a port, as the mirror reads it in a path. */
export function inPath(name: string): string {
  return name.replace(/:(\d+)$/, '_$1');
}

/** A `registries.yaml` of k3s and RKE2. @param caFile with the CA certificates of mirrors with HTTPS. */
export function registriesYaml(names: readonly string[], mirrors: readonly string[], caFile?: string): string {
  const endpoints = mirrors.map((url) => `      - ${quoted(url)}\n`).join('');
  const entries = names.map((name) => `  ${quoted(name)}:\n    endpoint:\n${endpoints}`).join('');
  const secure = caFile === undefined ? [] : mirrors.filter((url) => url.startsWith('https:'));
  const trust = secure.map(
    (url) => `  ${quoted(new URL(url).host)}:\n    tls:\n      ca_file: ${quoted(caFile ?? '')}\n`,
  );
  return `mirrors:\n${entries}${trust.length === 0 ? '' : `configs:\n${trust.join('')}`}`;
}

/** A `buildkitd.toml`. BuildKit sends `ns`, and takes the scheme of a mirror from the table of its own address. */
export function buildkitdToml(names: readonly string[], mirror: string): string {
  const { protocol, host } = new URL(mirror);
  const tables = names.map((name) => `[registry.${quoted(name)}]\n  mirrors = [${quoted(host)}]\n`);
  const plain = protocol === 'http:' ? `[registry.${quoted(host)}]\n  http = true\n` : '';
  return `${tables.join('')}${plain}`;
}

/** A basic string of TOML and a double-quoted scalar of YAML are both written as JSON writes them. */
export function quoted(text: string): string {
  return JSON.stringify(text);
}
