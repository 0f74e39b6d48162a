import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface Helper {
  readonly path: string;
  /** The registries it was asked about, in order. */
  asked(): Promise<readonly string[]>;
  /** From now on it behaves so. */
  replaceWith(script: string): Promise<void>;
}

/** A credential helper that is a shell script: it notes what it is asked, and then does as `script` says. */
export async function writeHelper(directory: string, name: string, script: string): Promise<Helper> {
  const path = join(directory, name);
  const log = `${path}.log`;
  const replaceWith = (next: string) =>
    writeFile(path, `#!/bin/sh\nread -r server || true\necho "$@ $server" >> '${log}'\n${next}\n`, { mode: 0o755 });
  await replaceWith(script);
  const asked = async () => (await readFile(log, 'utf8').catch(() => '')).split('\n').filter((line) => line !== '');
  return { path, asked, replaceWith };
}

/** What a helper prints when it knows the registry. */
export function printing(username: string, secret: string): string {
  return `echo '${JSON.stringify({ ServerURL: 'x', Username: username, Secret: secret })}'`;
}
