import {
  buildkitdToml,
  hostsFolder,
  hostsToml,
  inPath,
  ownServer,
  quoted,
  type Registry,
  registriesConf,
  registriesYaml,
} from './file-formats.ts';
import type { CertificatesByFile } from './registry-certificates.ts';

/** The mirror as its clients reach it. */
export interface ReachedMirror {
  /** Scheme, host and port. */
  readonly url: string;
  readonly registries: readonly Registry[];
  /** Upstreams that are patterns, such as `*.pkg.dev`. */
  readonly patterns: readonly string[];
}

/** What a client reads. */
export interface ClientFile {
  readonly path: string;
  readonly text: string;
  /**
   * How the text goes into a file that is there already.
   *
   *     own      the whole file is ours
   *     keys     it is JSON: the lists in the text are added to those of the file
   *     section  the text is added to the file, if the file has no such section
   */
  readonly fits: 'own' | 'keys' | 'section';
}

/** How a client is told to ask the mirror. */
export interface ClientConfiguration {
  readonly files: readonly ClientFile[];
  /** What to give to a client that reads no file of its own. */
  readonly text?: string;
  /** What makes the client read it. */
  readonly next: string;
  readonly notes: readonly string[];
}

interface ClientKind {
  readonly summary: string;
  /** Where its files are, if its administrator has not moved them. */
  readonly folder?: string;
  readonly configuration: (
    mirror: ReachedMirror,
    folder: string,
    certificates?: CertificatesByFile,
  ) => ClientConfiguration;
}

const containersFolder = '/etc/containers/registries.conf.d';

/** Every client that `layerwell client` knows. */
export const clientKinds = {
  docker: {
    summary: 'dockerd: Docker Hub only',
    folder: '/etc/docker',
    configuration: (mirror, folder) => ({
      files: [{ path: `${folder}/daemon.json`, text: daemonJson(mirror), fits: 'keys' }],
      next: 'systemctl reload docker',
      notes: dockerNotes(mirror),
    }),
  },
  containerd: {
    summary: 'containerd, also as the runtime of Kubernetes: every registry',
    folder: '/etc/containerd/certs.d',
    configuration: (mirror, folder, certificates) => ({
      files: hostsFiles(mirror, folder, certificates),
      next: 'no restart: containerd reads these files for each pull',
      notes: ['ctr reads them only with --hosts-dir'],
    }),
  },
  crio: {
    summary: 'CRI-O',
    folder: containersFolder,
    configuration: (mirror, folder) => containers(mirror, folder, 'systemctl reload crio'),
  },
  podman: {
    summary: 'podman, buildah and skopeo',
    folder: containersFolder,
    configuration: (mirror, folder) => containers(mirror, folder, 'no restart: podman reads this file for each pull'),
  },
  buildkit: {
    summary: 'buildkitd',
    folder: '/etc/buildkit',
    configuration: (mirror, folder) => ({
      files: [{ path: `${folder}/buildkitd.toml`, text: buildkitdToml(namesOf(mirror), mirror.url), fits: 'section' }],
      next: 'restart buildkitd; for a builder of buildx, create it anew with --config',
      notes: patternNotes(mirror, 'BuildKit'),
    }),
  },
  k3s: {
    summary: 'k3s; RKE2 with --folder /etc/rancher/rke2',
    folder: '/etc/rancher/k3s',
    configuration: ({ url }, folder) => ({
      files: [{ path: `${folder}/registries.yaml`, text: registriesYaml(['*'], [url]), fits: 'section' }],
      next: 'systemctl restart k3s (or k3s-agent), on every node',
      notes: [],
    }),
  },
  kubernetes: {
    summary: "the nodes of a cluster, by the chart's DaemonSet",
    configuration: (mirror) => ({
      files: [],
      text: chartValues(mirror),
      next: 'helm upgrade layerwell charts/layerwell --reuse-values --values FILE',
      notes: [],
    }),
  },
  kaniko: {
    summary: 'the flags of its executor',
    configuration: (mirror) => ({
      files: [],
      text: kanikoFlags(mirror),
      next: "add the flags to the executor's",
      notes: [...loopbackNotes(mirror, 'the pod of kaniko'), ...patternNotes(mirror, 'kaniko')],
    }),
  },
  kind: {
    summary: 'a cluster in Docker: its configuration',
    configuration: (mirror) => ({
      files: [],
      text: kindCluster(mirror),
      next: 'kind create cluster --config FILE',
      notes: loopbackNotes(mirror, 'a node of kind'),
    }),
  },
} as const satisfies Readonly<Record<string, ClientKind>>;

export type ClientName = keyof typeof clientKinds;

/** The clients whose configuration can be installed. */
export type InstalledClient = {
  [Name in ClientName]: (typeof clientKinds)[Name] extends { readonly folder: string } ? Name : never;
}[ClientName];

/** The clients whose programs can be asked to pull. */
export const drivenClients = [
  'docker',
  'containerd',
  'crio',
  'podman',
  'buildkit',
  'k3s',
] as const satisfies InstalledClient[];
export type DrivenClient = (typeof drivenClients)[number];

/** What a client is told, in files below `folder`. Pure. @param certificates for the registries themselves, beside those files. */
export function clientConfiguration(
  name: ClientName,
  mirror: ReachedMirror,
  folder?: string,
  certificates?: CertificatesByFile,
): ClientConfiguration {
  const kind: ClientKind = clientKinds[name];
  return kind.configuration(mirror, folder ?? kind.folder ?? '/', certificates);
}

function namesOf({ registries }: ReachedMirror): readonly string[] {
  return registries.map(({ name }) => name);
}

/** dockerd takes loopback addresses for plain HTTP by itself. */
function daemonJson({ url }: ReachedMirror): string {
  const { protocol, host } = new URL(url);
  const isPlain = protocol === 'http:' && !isLoopback(url);
  const keys = { 'registry-mirrors': [url], ...(isPlain && { 'insecure-registries': [host] }) };
  return `${JSON.stringify(keys, null, 2)}\n`;
}

function dockerNotes({ url, registries }: ReachedMirror): readonly string[] {
  const { host } = new URL(url);
  const other = registries.find(({ name }) => name !== 'docker.io')?.name ?? 'ghcr.io';
  return [
    `dockerd uses mirrors for Docker Hub only; for others put the mirror's address before the name: docker pull ${host}/${inPath(other)}/org/app:v1`,
    'Docker Engine 29 and later with the containerd image store reads the files of `layerwell client containerd --folder /etc/docker/certs.d` as well, for every registry',
  ];
}

/** One folder for each registry, and `_default` for the others. A folder of its own beats `_default`. */
function hostsFiles(
  { url, registries }: ReachedMirror,
  folder: string,
  certificates?: CertificatesByFile,
): readonly ClientFile[] {
  const folders = [
    ...registries.map((registry) => ({ name: hostsFolder(registry.name), server: ownServer(registry) })),
    { name: '_default', server: undefined },
  ];
  return folders.map(({ name, server }) => {
    const path = `${folder}/${name}/hosts.toml`;
    const shared = { mirrors: [url], dialTimeoutSeconds: 1, caFile: undefined };
    const text = hostsToml({ ...shared, server, certificates: certificates?.get(path) });
    return { path, text: text.trimStart(), fits: 'own' };
  });
}

function containers(mirror: ReachedMirror, folder: string, next: string): ClientConfiguration {
  const text = registriesConf(namesOf(mirror), [mirror.url]).trimStart();
  const notes = patternNotes(mirror, 'registries.conf');
  return { files: [{ path: `${folder}/50-layerwell.conf`, text, fits: 'own' }], next, notes };
}

function chartValues({ url, registries }: ReachedMirror): string {
  const service = 'service:\n  type: NodePort\n  nodePort: 30500\n';
  const nodes = `nodeConfiguration:\n  enabled: true\n`;
  if (isLoopback(url)) return `${service}${nodes}`;
  const names = registries.map(({ name, server }) => `    - name: ${quoted(name)}\n${serverLine(server)}`).join('');
  return `${nodes}  mirrors:\n    - ${quoted(url)}\n  registries:\n${names}`;
}

function serverLine(server: string | undefined): string {
  return server === undefined ? '' : `      server: ${quoted(server)}\n`;
}

/** go-containerregistry calls Docker Hub index.docker.io. */
function kanikoFlags({ url, registries }: ReachedMirror): string {
  const { protocol, host } = new URL(url);
  const maps = registries.map(
    ({ name }) => `${name === 'docker.io' ? 'index.docker.io' : name}=${host}/${inPath(name)}`,
  );
  const flags = [
    ...maps.map((map) => `--registry-map=${map}`),
    ...(protocol === 'http:' ? [`--insecure-registry=${host}`] : []),
  ];
  return flags.map((flag) => `${flag}\n`).join('');
}

/** Since v0.20 containerd in a node reads the folder. */
function kindCluster({ url }: ReachedMirror): string {
  return `# after: layerwell client containerd --url ${url} --root ./layerwell-kind --write
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
    extraMounts:
      - hostPath: ./layerwell-kind/etc/containerd/certs.d
        containerPath: /etc/containerd/certs.d
        readOnly: true
`;
}

function patternNotes({ patterns }: ReachedMirror, client: string): readonly string[] {
  return patterns.length === 0
    ? []
    : [`${client} has no entry for patterns: name the registries of ${patterns.join(', ')} with --registry`];
}

function loopbackNotes({ url }: ReachedMirror, client: string): readonly string[] {
  return isLoopback(url)
    ? [`${new URL(url).host} is ${client} itself: name an address that it reaches with --url`]
    : [];
}

/** Whether a URL names the machine of whoever reads it. */
function isLoopback(url: string): boolean {
  return /^(?:localhost|127\.[0-9.]+|\[::1\])$/.test(new URL(url).hostname);
}
