import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { freePort } from './free-port.ts';
import { type Owner, thisTest } from './owner.ts';
import { run, StartedProcess } from './processes.ts';
import { temporaryDirectory } from './temp-directory.ts';
import { tool } from './tools.ts';

export interface DockerRegistryOptions {
  /** Users and passwords; absent: none needed. */
  readonly user?: { readonly name: string; readonly password: string };
  /** The token server; absent: no tokens. */
  readonly tokens?: TokenIssuer;
  readonly owner?: Owner;
}

/** Source: distribution, "Configuring a registry", `auth.token`. */
export interface TokenIssuer {
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  /** The certificate that vouches for its signatures, PEM. */
  readonly certificate: string;
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

export interface LoggedRequest {
  readonly method: string;
  readonly path: string;
  /** Of the body of its answer. */
  readonly sentBytes: number;
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

  /** From now on the user has another password. */
  async changePassword({ name, password }: NonNullable<DockerRegistryOptions['user']>): Promise<void> {
    await run(tool('htpasswd'), ['-Bbc', join(dirname(this.#configFile), 'htpasswd'), name, password]);
    await this.stop();
    await this.start();
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
  async seen(): Promise<readonly LoggedRequest[]> {
    const lines = (await this.#accessLog()).slice(this.#forgotten);
    return lines
      .map(([, method = '', path = '', , sentBytes]) => ({ method, path, sentBytes: Number(sentBytes) }))
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
    return [...log.matchAll(/"(GET|HEAD|POST|PUT|PATCH|DELETE) (\S+) HTTP\/[\d.]+" (\d+) (\d+)/g)];
  }
}

async function configOf(directory: string, port: number, options: DockerRegistryOptions): Promise<object> {
  return {
    version: 0.1,
    log: { level: 'info', accesslog: { disabled: false } },
    storage: {
      filesystem: { rootdirectory: join(directory, 'data') },
      maintenance: { uploadpurging: { enabled: false } },
    },
    http: { addr: `127.0.0.1:${port}` },
    ...(await authOf(directory, options)),
  };
}

async function authOf(directory: string, { user, tokens }: DockerRegistryOptions): Promise<object> {
  if (user) {
    const path = join(directory, 'htpasswd');
    await run(tool('htpasswd'), ['-Bbc', path, user.name, user.password]);
    return { auth: { htpasswd: { realm: 'registry', path } } };
  }
  if (!tokens) return {};
  const { certificate, ...token } = tokens;
  const rootcertbundle = join(directory, 'issuer.pem');
  await writeFile(rootcertbundle, certificate);
  return { auth: { token: { ...token, rootcertbundle } } };
}
