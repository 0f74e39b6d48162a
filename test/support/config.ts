import { loadConfig } from '../../src/config/loading/load.ts';
import { ConfigError } from '../../src/config/loading/problems.ts';
import type { Config } from '../../src/config/schema.ts';

/** What surrounds a configuration file. */
export interface Surroundings {
  readonly env?: Readonly<Record<string, string>>;
  /** Files by their absolute paths. */
  readonly files?: Readonly<Record<string, string>>;
}

/** Loads a configuration as if it lay in /etc/layerwell. A text is taken as it is; anything else is written as JSON. */
export function configOf(content: unknown, { env = {}, files = {} }: Surroundings = {}): Promise<Config> {
  const file = '/etc/layerwell/mirror.config.json';
  const text = typeof content === 'string' ? content : JSON.stringify(content);
  const all: Readonly<Record<string, string>> = { ...files, [file]: text };
  return loadConfig({ file, env, readFile: async (path) => all[path] ?? missing(path) });
}

/** The problems that keep a configuration from being loaded. */
export async function problemsWith(content: unknown, surroundings?: Surroundings): Promise<readonly string[]> {
  return (await refusalOf(content, surroundings)).problems;
}

/** The error a configuration is refused with. */
export async function refusalOf(content: unknown, surroundings?: Surroundings): Promise<ConfigError> {
  try {
    await configOf(content, surroundings);
  } catch (cause) {
    if (cause instanceof ConfigError) return cause;
    throw cause;
  }
  throw new Error('the configuration was accepted');
}

function missing(path: string): never {
  throw Object.assign(new Error(`no such file: ${path}`), { code: 'ENOENT' });
}
