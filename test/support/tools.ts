import { accessSync, constants } from 'node:fs';
import { homedir, networkInterfaces } from 'node:os';
import { delimiter, join } from 'node:path';
import { describe } from 'vitest';

/** Where a program is: on the path, among the administrator's programs, or where `go install` or our own script puts it. */
export function findTool(name: string): string | undefined {
  const builtByGo = join(process.env['GOPATH'] ?? join(homedir(), 'go'), 'bin');
  const installedByUs = join(homedir(), '.local/share/layerwell-tools/bin');
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin', builtByGo, installedByUs];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

/** @throws when it is nowhere. */
export function tool(name: string): string {
  const found = findTool(name);
  if (found === undefined) throw new Error(`${name} is not installed: scripts/install-tools.sh`);
  return found;
}

export interface Requirements {
  /** Whether the tools work for the administrator only. */
  readonly asRoot?: boolean;
  /** Whether they need the loopback address `::1`. */
  readonly ipv6?: boolean;
}

/** A suite that needs real programs. Where it cannot run it says so, on stderr and in its name. */
export function describeWithTools(
  names: readonly string[],
  title: string,
  body: () => void,
  { asRoot = false, ipv6 = false }: Requirements = {},
): void {
  const missing = names.filter((name) => findTool(name) === undefined);
  if (asRoot && process.getuid?.() !== 0) missing.push('root');
  if (ipv6 && !hasIpv6()) missing.push('IPv6');
  const reason = missing.length > 0 ? ` (not run: this machine lacks ${missing.join(' and ')})` : '';
  if (reason !== '') process.stderr.write(`${title}${reason}\n`);
  describe.skipIf(reason !== '')(`${title}${reason}`, () => {
    body();
  });
}

function hasIpv6(): boolean {
  return Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === '::1'));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
