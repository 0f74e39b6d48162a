import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from './free-port.ts';
import { type Owner, thisTest } from './owner.ts';
import { run, StartedProcess } from './processes.ts';
import { temporaryDirectory } from './temp-directory.ts';
import { tool } from './tools.ts';

export interface DockerRegistryOptions {
  /** Who may enter; absent: anybody. */
  readonly user?: { readonly name: string; readonly password: string };
  readonly owner?: Owner;
}

/** Debian's docker-registry (distribution 2.8) on a loopback port, with its data in a temporary directory. */
export async function startDockerRegistry(options: DockerRegistryOptions = {}): Promise<DockerRegistry> {
  const owner = options.owner ?? thisTest;
  const directory = await temporaryDirectory(owner);
  const port = await freePort();
  const configFile = join(directory, 'config.json');
  // YAML reads JSON.
  await writeFile(configFile, JSON.stringify(await configOf(directory, port, options)));
  const registry = new DockerRegistry(port, configFile);
  owner(() => registry.stop());
  await registry.start();
  return registry;
}

export class DockerRegistry {
  readonly url: string;
  /** `127.0.0.1:<port>`. */
  readonly host: string;
  readonly #configFile: string;
  readonly #runs: StartedProcess[] = [];
  #forgotten = 0;

  constructor(port: number, configFile: string) {
    this.host = `127.0.0.1:${port}`;
    this.url = `http://${this.host}`;
    this.#configFile = configFile;
  }

  /** Also after {@link stop}: on the same port, with the same data. */
  async start(): Promise<void> {
    const process = new StartedProcess(tool('docker-registry'), ['serve', this.#configFile]);
    this.#runs.push(process);
    await process.waitUntil(({ output }) => output.includes('listening on'));
  }

  async stop(): Promise<void> {
    await this.#runs.at(-1)?.stop();
  }

  /** What it was asked since it was told to forget, by its access log. */
  async seen(): Promise<readonly { readonly method: string; readonly path: string }[]> {
    const lines = (await this.#accessLog()).slice(this.#forgotten);
    return lines
      .map(([, method = '', path = '']) => ({ method, path }))
      .filter(({ path }) => !path.startsWith('/marker/'));
  }

  async forgetSeen(): Promise<void> {
    this.#forgotten = (await this.#accessLog()).length;
  }

  /** How often each blob was fetched, by digest. */
  async downloads(): Promise<ReadonlyMap<string, number>> {
    const counts = new Map<string, number>();
    for (const { method, path } of await this.seen()) {
      const [, digest] = /\/blobs\/(\w+:[0-9a-f]+)/.exec(path) ?? [];
      if (method === 'GET' && digest !== undefined) counts.set(digest, (counts.get(digest) ?? 0) + 1);
    }
    return counts;
  }

  /** Lines come a moment after their answers: whatever was answered before this call stands before the line of its own request. */
  async #accessLog(): Promise<RegExpExecArray[]> {
    const running = this.#runs.at(-1);
    if (running && !running.hasExited) {
      const marker = `/marker/${randomUUID()}`;
      await (await fetch(`${this.url}${marker}`)).arrayBuffer();
      await running.waitUntil(({ stdout }) => stdout.includes(marker));
    }
    const log = this.#runs.map(({ stdout }) => stdout).join('');
    return [...log.matchAll(/"(GET|HEAD|POST|PUT|PATCH|DELETE) (\S+) HTTP/g)];
  }
}

async function configOf(directory: string, port: number, { user }: DockerRegistryOptions): Promise<object> {
  const htpasswd = join(directory, 'htpasswd');
  if (user) await run(tool('htpasswd'), ['-Bbc', htpasswd, user.name, user.password]);
  return {
    version: 0.1,
    log: { level: 'info', accesslog: { disabled: false } },
    storage: {
      filesystem: { rootdirectory: join(directory, 'data') },
      maintenance: { uploadpurging: { enabled: false } },
    },
    http: { addr: `127.0.0.1:${port}` },
    ...(user && { auth: { htpasswd: { realm: 'registry', path: htpasswd } } }),
  };
}
