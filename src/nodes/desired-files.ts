import { join } from 'node:path';
import type { NodeSettings } from '../config/node-settings.ts';

/** A file that a container runtime reads. */
export interface NodeFile {
  readonly path: string;
  readonly text: string;
}

/** What the files are made from. */
export interface NodeFacts {
  /** The address by which the node reaches itself. */
  readonly nodeIP: string;
  /** CA certificates (PEM) that the mirror's own is signed by. */
  readonly ca: string | undefined;
}

/** Not `.crt`, `.cert` or `.key`, which containerd takes for the registry's own. */
const caName = 'layerwell-ca.pem';
const [hostsName, dropInName, registriesName] = ['hosts.toml', '50-layerwell.conf', 'registries.yaml'];

/** The names of all files that are ever written. */
export const fileNames: ReadonlySet<string> = new Set([caName, hostsName, dropInName, registriesName]);

const ending = 'is written again if it is changed, and removed with its owner: docs/nodes.md';

/** The first line of every file. Files without it are another's. */
export function headerOf(owner: string): string {
  return `# layerwell ${owner}: ${ending}\n`;
}

/** Whether a release wrote the file: this one or another. */
export function isHeaded(text: string): boolean {
  const [first = ''] = text.split('\n', 1);
  return first.startsWith('# layerwell ') && first.endsWith(`: ${ending}`);
}

/** The files that make a container runtime ask the mirror before each registry. Pure. */
export function desiredFiles(settings: NodeSettings, facts: NodeFacts): readonly NodeFile[] {
  const mirrors = settings.mirrors.map((url) => url.replace('{nodeIP}', inUrl(facts.nodeIP)));
  const made = { ...settings, mirrors };
  const files = filesOf(made, facts.ca);
  return files.map(({ path, text }) => ({ path: join(settings.folder, path), text: headerOf(settings.owner) + text }));
}

function filesOf(settings: NodeSettings, ca: string | undefined): readonly NodeFile[] {
  if (settings.runtime === 'containerd') return hostsFiles(settings, ca);
  const caFile = ca === undefined ? [] : [{ path: caName, text: ca }];
  if (settings.runtime === 'crio') return [...caFile, { path: dropInName, text: registriesConf(settings) }];
  return [...caFile, { path: registriesName, text: registriesYaml(settings, ca !== undefined) }];
}

/** One folder for each registry, and `_default` for the others. A folder of its own beats `_default`. */
function hostsFiles(settings: NodeSettings, ca: string | undefined): readonly NodeFile[] {
  const { registries, everyRegistry } = settings;
  const folders = [
    ...registries.map(({ name, server }) => ({ folder: folderOf(name), server: server ?? ownServer(name) })),
    ...(everyRegistry ? [{ folder: '_default', server: undefined }] : []),
  ];
  return folders.flatMap(({ folder, server }) => [
    ...(ca === undefined ? [] : [{ path: join(folder, caName), text: ca }]), // Before the file that names it.
    { path: join(folder, hostsName), text: hostsToml(settings, { server, hasCa: ca !== undefined }) },
  ]);
}

/** Docker Hub's registry has another name than its images; containerd takes localhost to be plain HTTP. */
function ownServer(name: string): string {
  if (name === 'docker.io') return 'https://registry-1.docker.io';
  return /^(?:localhost|127\.[0-9.]+|\[::1\]):\d+$/.test(name) ? `http://${name}` : `https://${name}`;
}

/** containerd writes the colon of a port as underscores (docs/hosts.md). */
function folderOf(name: string): string {
  return name.replace(/:(\d+)$/, '_$1_');
}

/**
 * Without `capabilities` containerd would also push to the mirror. Without `server` the registry that the image names comes last, by its own
 * address, which is what `_default` needs. containerd before 2.1 ignores `dial_timeout` and waits 30 s for a node that does not answer.
 */
function hostsToml(
  { mirrors, dialTimeoutSeconds }: NodeSettings,
  { server, hasCa }: { readonly server: string | undefined; readonly hasCa: boolean },
): string {
  const hosts = mirrors.map((url) => {
    const ca = hasCa && url.startsWith('https:') ? `  ca = ${quoted(caName)}\n` : '';
    return `\n[host.${quoted(url)}]\n  capabilities = ["pull", "resolve"]\n  dial_timeout = "${dialTimeoutSeconds}s"\n${ca}`;
  });
  return `${server === undefined ? '' : `server = ${quoted(server)}\n`}${hosts.join('')}`;
}

/** The mirror learns the registry from the path: CRI-O sends no `ns`. */
function registriesConf({ registries, mirrors }: NodeSettings): string {
  const tables = registries.map(({ name }) => {
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
function inPath(name: string): string {
  return name.replace(/:(\d+)$/, '_$1');
}

function registriesYaml({ registries, everyRegistry, mirrors, folder }: NodeSettings, hasCa: boolean): string {
  const names = [...registries.map(({ name }) => name), ...(everyRegistry ? ['*'] : [])];
  const endpoints = mirrors.map((url) => `      - ${quoted(url)}\n`).join('');
  const entries = names.map((name) => `  ${quoted(name)}:\n    endpoint:\n${endpoints}`).join('');
  const secure = hasCa ? mirrors.filter((url) => url.startsWith('https:')) : [];
  const file = quoted(join(folder, caName));
  const trust = secure.map((url) => `  ${quoted(new URL(url).host)}:\n    tls:\n      ca_file: ${file}\n`).join('');
  return `mirrors:\n${entries}${trust === '' ? '' : `configs:\n${trust}`}`;
}

function inUrl(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

/** A basic string of TOML and a double-quoted scalar of YAML are both written as JSON writes them. */
function quoted(text: string): string {
  return JSON.stringify(text);
}
