import { spawnSync } from 'node:child_process';
import { findTool } from './tools.ts';

/** What the tests drive. The script that installs it knows from where. */
const tools = [
  'docker',
  'dockerd',
  'containerd',
  'ctr',
  'podman',
  'buildah',
  'skopeo',
  'docker-registry',
  'htpasswd',
  'crane',
  'regctl',
  'helm',
  'kubeconform',
  'kubernetes-schemas',
  'moto_server',
  'redis-server',
  'versitygw',
  'promtool',
  'zsh',
  'fish',
];

/** Runs once before the tests that need real programs: what this machine lacks is installed, where it can be. */
export function setup(): void {
  const missing = tools.filter((name) => findTool(name) === undefined);
  if (missing.length === 0) return;
  process.stderr.write(`installing ${missing.join(', ')}; the first time this takes some minutes\n`);
  spawnSync('scripts/install-tools.sh', { stdio: ['ignore', 2, 2] });
}
