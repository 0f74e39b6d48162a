import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run, startProcess } from '../support/processes.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { tool } from '../support/tools.ts';
import type { Client, Pulled } from './client.ts';

export interface DockerdOptions {
  /** What daemon.json says, beside where things are. */
  readonly daemonFile?: object;
}

/** A docker daemon of its own, told of one mirror before Docker Hub. */
export async function startDockerd(
  mirrorUrl: string,
  { daemonFile = { 'registry-mirrors': [mirrorUrl] } }: DockerdOptions = {},
): Promise<Client> {
  const directory = await temporaryDirectory();
  const socket = `unix://${join(directory, 'docker.sock')}`;
  const configFile = join(directory, 'daemon.json');
  await writeFile(configFile, JSON.stringify({ ...daemonConfig(directory, socket), ...daemonFile }));
  const daemon = startProcess(tool('dockerd'), ['--config-file', configFile, '--userland-proxy=false']);
  await daemon.waitUntil(({ output }) => output.includes('API listen on'), 40_000);
  const docker = (...args: string[]) =>
    run(tool('docker'), ['--host', socket, ...args], { env: { DOCKER_CONFIG: join(directory, 'cli') } });
  return {
    async pull({ repository, tag }: Pulled) {
      const { stdout } = await docker('pull', `${repository.replace(/^library\//, '')}:${tag}`);
      return /^Digest: (\S+)$/m.exec(stdout)?.[1] ?? '';
    },
    async forget() {
      const { stdout } = await docker('image', 'ls', '--quiet');
      await docker('image', 'rm', '--force', ...new Set(stdout.split('\n').filter((id) => id !== '')));
    },
  };
}

/** Where things are. */
export function daemonConfig(directory: string, socket: string): object {
  return {
    hosts: [socket],
    'data-root': join(directory, 'data'),
    'exec-root': join(directory, 'exec'),
    pidfile: join(directory, 'docker.pid'),
    'storage-driver': 'vfs',
    bridge: 'none',
    iptables: false,
    ip6tables: false,
  };
}
