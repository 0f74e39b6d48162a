import { readFile, stat } from 'node:fs/promises';
import type { SettingsOf } from '../../settings.ts';
import { unreadableSecret } from '../credential-failure.ts';
import {
  type AccountDeps,
  type Credentials,
  type Secret,
  type SecretRequest,
  serverAddressOf,
} from '../credentials.ts';
import { type DockerConfig, helperFor, parseDockerConfig, secretFor } from './docker-config-file.ts';
import { createExecCredentials } from './exec.ts';

/** How long a helper's answer is used, and its timeout. */
const helperLifetimeMs = 5 * 60_000;
const helperTimeoutMs = 10_000;

/**
 * The account that a Docker `config.json` has for a host: its helper (`credHelpers`), else the store (`credsStore`), else `auths`. The file
 * is read again when it changes, so that a mounted secret can be rotated. Requests to a registry without an entry are anonymous.
 * Podman's files may have an account for each namespace of a registry.
 * Source: docker/cli, "docker login: Credential stores"; `config/configfile`; containers-auth.json(5).
 */
export function createDockerConfigCredentials(
  { configFile }: SettingsOf<'docker-config'>,
  deps: AccountDeps,
): Credentials {
  const { account, registry } = deps;
  const file = new WatchedFile(configFile);
  const helpers = new Map<string, Credentials>();
  const helperNamed = (name: string): Credentials => {
    const command = `docker-credential-${name}`;
    const settings = { command, args: [], lifetimeMs: helperLifetimeMs, timeoutMs: helperTimeoutMs };
    const helper = helpers.get(name) ?? createExecCredentials(settings, deps);
    helpers.set(name, helper);
    return helper;
  };
  return {
    account,
    isPerRepository: true,
    async secret(request: SecretRequest): Promise<Secret | undefined> {
      const config = await file.read();
      const server = serverAddressOf(registry);
      const helper = helperFor(config, server);
      const fromHelper = helper === undefined ? undefined : await helperNamed(helper).secret(request);
      return fromHelper ?? secretFor(config, server, request.repository);
    },
    forget: (secret) => {
      for (const helper of helpers.values()) helper.forget(secret);
    },
  };
}

/** A file that is parsed again only when it has changed. */
class WatchedFile {
  readonly #path: string;
  #known: { readonly version: string; readonly config: DockerConfig } | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  async read(): Promise<DockerConfig> {
    try {
      const { mtimeNs, size, ino } = await stat(this.#path, { bigint: true });
      const version = `${mtimeNs} ${size} ${ino}`;
      if (this.#known?.version !== version) {
        this.#known = { version, config: parseDockerConfig(await readFile(this.#path, 'utf8')) };
      }
      return this.#known.config;
    } catch (cause) {
      throw unreadableSecret('the Docker configuration', cause);
    }
  }
}
