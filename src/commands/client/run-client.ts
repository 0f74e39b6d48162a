import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DrivenClient } from '../../clients/kinds.ts';

export interface DrivenPull {
  readonly client: DrivenClient;
  /** With its registry, and a tag or digest. */
  readonly image: string;
  /** Where containerd reads `hosts.toml` files. */
  readonly hostsFolder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/** How a pull ended. */
export type PullResult =
  | { readonly kind: 'pulled'; readonly program: string }
  | { readonly kind: 'failed'; readonly program: string; readonly reason: string }
  | { readonly kind: 'not-installed'; readonly program: string };

/** Pulls an image by a client's own program: the first of those that are installed. */
export async function pullBy(pull: DrivenPull): Promise<PullResult> {
  let result: PullResult | undefined;
  for (const command of commandsOf(pull)) {
    result = await runPull(command, pull);
    if (result.kind !== 'not-installed') return result;
  }
  return result ?? { kind: 'not-installed', program: pull.client };
}

interface PullCommand {
  readonly program: string;
  readonly args: readonly string[];
  /** It runs in a folder with this file. */
  readonly dockerfile?: string;
}

/** crictl asks containerd as kubelet does; ctr does not read config.toml, so that it needs the folder. */
function commandsOf({ client, image, hostsFolder }: DrivenPull): readonly PullCommand[] {
  const crictl = { program: 'crictl', args: ['pull', image] };
  switch (client) {
    case 'docker':
      return [{ program: 'docker', args: ['pull', '--quiet', image] }];
    case 'containerd':
      return [crictl, { program: 'ctr', args: ['content', 'fetch', '--hosts-dir', hostsFolder, image] }];
    case 'crio':
      return [crictl];
    case 'podman':
      return [{ program: 'podman', args: ['pull', '--quiet', image] }];
    case 'k3s':
      return [{ program: 'k3s', args: ['crictl', 'pull', image] }];
    case 'buildkit': {
      const args = [
        'build',
        '--no-cache',
        '--frontend',
        'dockerfile.v0',
        '--local',
        'context=.',
        '--local',
        'dockerfile=.',
      ];
      return [{ program: 'buildctl', args, dockerfile: `FROM ${image}\n` }];
    }
  }
}

/** What a program has said is kept as far as its last lines. */
const mostOutput = 16 * 1024;

async function runPull({ program, args, dockerfile }: PullCommand, pull: DrivenPull): Promise<PullResult> {
  const folder = dockerfile === undefined ? undefined : await mkdtemp(join(tmpdir(), 'layerwell-'));
  try {
    if (folder !== undefined) await writeFile(join(folder, 'Dockerfile'), dockerfile ?? '');
    return await ended(program, args, { ...pull, cwd: folder });
  } finally {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  }
}

function ended(
  program: string,
  args: readonly string[],
  { env, signal, cwd }: Pick<DrivenPull, 'env' | 'signal'> & { readonly cwd: string | undefined },
): Promise<PullResult> {
  return new Promise((resolve) => {
    let output = '';
    const child = spawn(program, args, { env, signal, cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    const keep = (text: string) => {
      output = (output + text).slice(-mostOutput);
    };
    child.stdout.setEncoding('utf8').on('data', keep);
    child.stderr.setEncoding('utf8').on('data', keep);
    child.once('error', (cause) => {
      const isMissing = 'code' in cause && cause.code === 'ENOENT';
      const reason = signal.aborted ? 'it did not end in time' : cause.message;
      resolve(isMissing ? { kind: 'not-installed', program } : { kind: 'failed', program, reason });
    });
    child.once('close', (code) => {
      const reason = output.trim().split('\n').slice(-3).join('\n') || `exit code ${code}`;
      resolve(code === 0 ? { kind: 'pulled', program } : { kind: 'failed', program, reason });
    });
  });
}
