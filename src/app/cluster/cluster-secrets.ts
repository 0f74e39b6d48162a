import { readLongSecret, readText } from '../../config/loading/files.ts';
import type { Config } from '../../config/schema.ts';
import { leastSecretBytes } from '../../config/sections/cluster.ts';

type ClusterConfig = NonNullable<Config['cluster']>;

/** What replicas prove to each other who they are with, and the certificates that they trust. */
export interface ClusterSecrets {
  readonly secret: string;
  readonly previousSecret: string | undefined;
  readonly ca: string | undefined;
}

export interface WatchedSecretsDeps {
  /** Called with what the files hold now, at the start and when that has changed. */
  readonly apply: (secrets: ClusterSecrets) => void;
  /** Called when a file cannot be read any more: what it held before stays in use. */
  readonly onFailure: (cause: unknown) => void;
  /** For tests. */
  readonly everyMs?: number;
}

/** Kubernetes changes a mounted file at any time. */
const usuallyEveryMs = 5_000;

/** The secrets of a cluster, which may be in files that change. */
export class WatchedSecrets {
  readonly #config: ClusterConfig;
  readonly #deps: WatchedSecretsDeps;
  #known = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(config: ClusterConfig, deps: WatchedSecretsDeps) {
    this.#config = config;
    this.#deps = deps;
  }

  /** @throws Error when a file cannot be read, or holds no usable secret. */
  async start(): Promise<void> {
    const { onFailure, everyMs = usuallyEveryMs } = this.#deps;
    await this.#look();
    this.#timer = setInterval(() => void this.#look().catch(onFailure), everyMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    const { secret, previousSecret, tls } = this.#config;
    const secrets: ClusterSecrets = {
      secret: await readLongSecret(secret, leastSecretBytes),
      previousSecret: previousSecret && (await readLongSecret(previousSecret, leastSecretBytes)),
      ca: tls.caFile === undefined ? undefined : await readText(tls.caFile),
    };
    const text = JSON.stringify(secrets);
    if (text === this.#known) return;
    this.#known = text;
    this.#deps.apply(secrets);
  }
}
