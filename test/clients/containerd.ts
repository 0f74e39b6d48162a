import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run, startProcess } from '../support/processes.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { tool } from '../support/tools.ts';
import type { Client, Pulled } from './client.ts';

export interface ContainerdOptions {
  /** What `_default/hosts.toml` says. */
  readonly hostsFile?: string;
  /** The folder of `hosts.toml` files, instead. */
  readonly hostsDir?: string;
  /** How ctr is told to pull. */
  readonly verb?: readonly string[];
}

/** A containerd of its own. One file tells it that the mirror stands before every registry; it sends `?ns=` along. */
export async function startContainerd(
  mirrorUrl: string,
  { hostsFile = hostsToml(mirrorUrl), hostsDir, verb = ['content', 'fetch'] }: ContainerdOptions = {},
): Promise<(registry: string) => Client> {
  const directory = await temporaryDirectory();
  const socket = join(directory, 'containerd.sock');
  const hosts = join(directory, 'hosts');
  await mkdir(join(hosts, '_default'), { recursive: true });
  await writeFile(join(hosts, '_default', 'hosts.toml'), hostsFile);
  const configFile = join(directory, 'config.toml');
  await writeFile(configFile, configToml(directory, socket));
  const containerd = startProcess(tool('containerd'), ['--config', configFile]);
  await containerd.waitUntil(({ output }) => output.includes('containerd successfully booted'));
  const ctr = (...args: string[]) =>
    run(tool('ctr'), ['--address', socket, ...args], { env: { CONTAINERD_SNAPSHOTTER: 'native' } });
  return (registry) => ({
    async pull({ repository, tag }: Pulled) {
      const name = `${registry}/${repository}:${tag}`;
      await ctr(...verb, '--hosts-dir', hostsDir ?? hosts, name);
      const { stdout } = await ctr('images', 'ls', `name==${name}`);
      return /sha\d+:[0-9a-f]+/.exec(stdout)?.[0] ?? '';
    },
    async forget() {
      const { stdout } = await ctr('images', 'ls', '-q');
      await ctr('images', 'rm', '--sync', ...stdout.split('\n').filter((name) => name !== ''));
    },
  });
}

function hostsToml(mirrorUrl: string): string {
  return `
[host."${mirrorUrl}"]
  capabilities = ["pull", "resolve"]
`;
}

/** Where things are; without CRI. */
export function configToml(directory: string, socket: string): string {
  return `
version = 2
root = "${join(directory, 'root')}"
state = "${join(directory, 'state')}"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "${socket}"
[ttrpc]
  address = "${socket}.ttrpc"
`;
}
