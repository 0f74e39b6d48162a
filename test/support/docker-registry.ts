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

  /** How often it was asked, by its access log: `count('GET', /\/blobs\//)`. */
  count(method: string, path: RegExp): number {
    return this.seen().filter((request) => request.method === method && path.test(request.path)).length;
  }

  seen(): readonly { readonly method: string; readonly path: string }[] {
    const log = this.#runs.map(({ stdout }) => stdout).join('');
    return [...log.matchAll(/"(GET|HEAD|POST|PUT|PATCH|DELETE) (\S+) HTTP/g)].map(([, method = '', path = '']) => ({
      method,
      path,
    }));
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
