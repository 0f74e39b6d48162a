import { z } from 'zod';
import { ConfigError, inWords } from './loading/problems.ts';
import { host, registryUrl } from './sections/names.ts';
import { count, word } from './sections/values.ts';

const containerdFolder = '/etc/containerd/certs.d';

/** Where the files of a runtime are, if its administrator has not moved them. */
const usualFolders = {
  containerd: containerdFolder,
  crio: '/etc/containers/registries.conf.d',
  k3s: '/etc/rancher/k3s',
  rke2: '/etc/rancher/rke2',
} as const;

const registry = z.strictObject({
  name: host().describe('As images name it, such as `docker.io`.'),
  server: registryUrl().describe('Where the registry itself is. Default: `https://<name>`.').optional(),
});

const owner = z.string().regex(/^[\w./:-]{1,200}$/);

const settings = z.strictObject({
  owner: owner.describe('Who writes the files: files of another owner are not touched.'),
  runtime: word(['containerd', 'crio', 'k3s', 'rke2']),
  folder: z.string().startsWith('/', 'expected an absolute path').optional(),
  configFile: z.string().startsWith('/', 'expected an absolute path').prefault('/etc/containerd/config.toml'),
  mirrors: z
    .array(
      z
        .string()
        .regex(/^https?:\/\/(\{nodeIP\}|[A-Za-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?$/, 'expected http(s)://host:port')
        .refine((url) => URL.canParse(url.replace('{nodeIP}', '127.0.0.1')), 'expected http(s)://host:port'),
    )
    .min(1, 'expected at least one mirror'),
  caFile: z.string().optional(),
  dialTimeoutSeconds: count({ least: 1, most: 60 }).prefault(1),
  registries: z.array(registry),
  everyRegistry: z.boolean().prefault(true),
  takeOver: z.boolean().prefault(false),
  takeOverFrom: z.array(owner).prefault([]),
  intervalSeconds: count({ least: 1, most: 3_600 }).prefault(30),
});

export type NodeSettings = ReturnType<typeof parseNodeSettings>;

/** @throws ConfigError with every problem. */
export function parseNodeSettings(document: unknown, file: string) {
  const { data, error } = settings.safeParse(document);
  if (!data) {
    throw new ConfigError(
      file,
      error.issues.map(({ path, message }) =>
        inWords({ path: path.map((part) => (typeof part === 'symbol' ? '' : part)), message }),
      ),
    );
  }
  return { ...data, folder: data.folder ?? usualFolders[data.runtime] };
}
