import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The external programs that the bench runs, by full path. */
export interface Tools {
  readonly wrk: string;
  readonly nginx: string;
  /** Undefined where it is not installed: then servers and clients share the processors. */
  readonly taskset: string | undefined;
  /** zot with its sync extension. It is measured where it is given. */
  readonly zot: string | undefined;
  /** Runs as the upstream. */
  readonly upstreamRegistry: Registry;
  /** Runs as the proxy that Layerwell is compared with. */
  readonly proxyRegistry: Registry;
}

export interface Registry {
  readonly path: string;
  /** Its version output. */
  readonly version: string;
}

/** @throws Error that names every missing program. */
export async function findTools(searchPath: string): Promise<Tools> {
  const folders = [...searchPath.split(':'), '/usr/sbin', '/sbin', ...(await goFolders())];
  const find = (name: string) => findProgram(name, folders);
  const [wrk, nginx, debian, third] = await Promise.all(['wrk', 'nginx', 'docker-registry', 'registry'].map(find));
  const [taskset, zot] = await Promise.all(['taskset', 'zot'].map(find));
  const upstream = debian ?? third;
  const proxy = third ?? debian;
  if (!wrk || !nginx || !upstream || !proxy) {
    const needed = { wrk, nginx, 'docker-registry or registry': upstream };
    const missing = Object.entries(needed).filter(([, path]) => path === undefined);
    throw new Error(`missing: ${missing.map(([name]) => name).join(', ')} (scripts/install-tools.sh installs them)`);
  }
  const registries = { upstreamRegistry: await described(upstream), proxyRegistry: await described(proxy) };
  return { wrk, nginx, taskset, zot, ...registries };
}

/** The version output of `program`, on one line. */
export async function versionOf(program: string, flag = '--version'): Promise<string> {
  // wrk prints its version and exits with 1.
  const { stdout, stderr } = await run(program, [flag]).catch((failure: { stdout: string; stderr: string }) => failure);
  return `${stdout}${stderr}`.split('\n')[0]?.trim() ?? '';
}

async function described(path: string): Promise<Registry> {
  return { path, version: (await versionOf(path)).replace(/^\S+ (?=github\.com)/, '') };
}

async function goFolders(): Promise<readonly string[]> {
  return run('go', ['env', 'GOPATH']).then(
    ({ stdout }) => [join(stdout.trim(), 'bin')],
    () => [],
  );
}

async function findProgram(name: string, folders: readonly string[]): Promise<string | undefined> {
  for (const folder of folders) {
    const path = join(folder, name);
    const found = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  return undefined;
}
