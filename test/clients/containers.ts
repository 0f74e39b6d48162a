import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../support/processes.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { tool } from '../support/tools.ts';
import type { Client, Pulled } from './client.ts';

export interface ContainersOptions {
  /** The registry as users write it. */
  readonly registry?: string;
  /** Where podman finds the mirror for it: host and port, perhaps with a path. */
  readonly mirror: string;
  /** What registries.conf says instead of this. */
  readonly settings?: string;
}

/** podman, or buildah, which reads the same settings: with a store of its own, and one mirror before `registry`. */
export async function containersClient(
  program: 'podman' | 'buildah',
  { registry = 'docker.io', mirror, settings = registriesConf(registry, mirror) }: ContainersOptions,
): Promise<Client> {
  const directory = await temporaryDirectory();
  const policy = join(directory, 'policy.json');
  const registries = join(directory, 'registries.conf');
  await writeFile(policy, JSON.stringify({ default: [{ type: 'insecureAcceptAnything' }] }));
  await writeFile(registries, settings);
  await mkdir(join(directory, 'tmp'));
  const env = { CONTAINERS_REGISTRIES_CONF: registries, TMPDIR: join(directory, 'tmp') };
  const store = ['--root', join(directory, 'root'), '--runroot', join(directory, 'run'), '--storage-driver', 'vfs'];
  const call = (...args: string[]) => run(tool(program), [...store, ...args], { env });
  return {
    async pull({ repository, tag }: Pulled) {
      const name = `${registry}/${repository}:${tag}`;
      await call('pull', '--signature-policy', policy, name);
      const { stdout } = await call('images', '--no-trunc', '--format', '{{.Digest}}', name);
      return stdout.trim();
    },
    async forget() {
      await call('rmi', '--all', '--force');
    },
  };
}

function registriesConf(registry: string, mirror: string): string {
  return `
[[registry]]
prefix = "${registry}"
location = "${registry}"
[[registry.mirror]]
location = "${mirror}"
insecure = true
`;
}
