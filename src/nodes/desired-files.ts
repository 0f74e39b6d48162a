import { join } from 'node:path';
import { hostsFolder, hostsToml, ownServer, registriesConf, registriesYaml } from '../clients/file-formats.ts';
import type { CertificatesByFile } from '../clients/registry-certificates.ts';
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
  /** Those for the registries themselves, which containerd no longer looks for beside our file. */
  readonly certificates: CertificatesByFile;
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

/** The release that wrote the file, this one or another; undefined if none did. */
export function ownerIn(text: string): string | undefined {
  const [first = ''] = text.split('\n', 1);
  const [, owner] = /^# layerwell (\S+): (.*)$/.exec(first) ?? [];
  return first === `# layerwell ${owner}: ${ending}` ? owner : undefined;
}

/** The files that make a container runtime ask the mirror before each registry. Pure. */
export function desiredFiles(settings: NodeSettings, facts: NodeFacts): readonly NodeFile[] {
  const mirrors = settings.mirrors.map((url) => url.replace('{nodeIP}', inUrl(facts.nodeIP)));
  const made = { ...settings, mirrors };
  const files = filesOf(made, facts);
  return files.map(({ path, text }) => ({ path: join(settings.folder, path), text: headerOf(settings.owner) + text }));
}

function filesOf(settings: NodeSettings, facts: NodeFacts): readonly NodeFile[] {
  if (settings.runtime === 'containerd') return hostsFiles(settings, facts);
  const { ca } = facts;
  const caFile = ca === undefined ? [] : [{ path: caName, text: ca }];
  const names = settings.registries.map(({ name }) => name);
  const { mirrors } = settings;
  if (settings.runtime === 'crio') return [...caFile, { path: dropInName, text: registriesConf(names, mirrors) }];
  const named = [...names, ...(settings.everyRegistry ? ['*'] : [])];
  const caPath = ca === undefined ? undefined : join(settings.folder, caName);
  return [...caFile, { path: registriesName, text: registriesYaml(named, mirrors, caPath) }];
}

/** One folder for each registry, and `_default` for the others. A folder of its own beats `_default`. */
function hostsFiles(settings: NodeSettings, { ca, certificates }: NodeFacts): readonly NodeFile[] {
  const { registries, everyRegistry, mirrors, dialTimeoutSeconds } = settings;
  const caFile = ca === undefined ? undefined : caName;
  const folders = [
    ...registries.map((registry) => ({ folder: hostsFolder(registry.name), server: ownServer(registry) })),
    ...(everyRegistry ? [{ folder: '_default', server: undefined }] : []),
  ];
  return folders.flatMap(({ folder, server }) => [
    ...(ca === undefined ? [] : [{ path: join(folder, caName), text: ca }]), // Before the file that names it.
    {
      path: join(folder, hostsName),
      text: hostsToml({
        mirrors,
        dialTimeoutSeconds,
        server,
        caFile,
        certificates: certificates.get(join(settings.folder, folder, hostsName)),
      }),
    },
  ]);
}

function inUrl(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}
