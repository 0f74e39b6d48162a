import { createHash } from 'node:crypto';
import * as fs from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { crossProblems } from './checks.ts';
import { environmentProxies } from './environment-proxy.ts';
import { interpolate, reasonOf } from './interpolate.ts';
import { JsonError, readJson } from './json.ts';
import { ConfigError, inWords, keyText, type Problem, problemsOf } from './problems.ts';
import { type Config, configFile, configJsonSchema, settled } from '../schema.ts';

export interface LoadOptions {
  /** The configuration file. Paths in it are relative to its folder. */
  readonly file: string;
  /** For `${env:NAME}` and the proxy variables. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readFile?: (path: string) => Promise<string>;
}

/** The content of a configuration file. */
export interface ConfigText {
  readonly text: string;
  /** In hex. It tells whether a mirror uses this content. */
  readonly sha256: string;
}

/** @throws ConfigError when the file cannot be read. */
export async function readConfig(file: string, readFile = readText): Promise<ConfigText> {
  const text = await content(file, readFile);
  return { text, sha256: createHash('sha256').update(text).digest('hex') };
}

/** Reads a configuration file. @throws ConfigError as {@link readConfig} and {@link parseConfig} do. */
export async function loadConfig(options: LoadOptions): Promise<Config> {
  return parseConfig(await readConfig(options.file, options.readFile), options);
}

/**
 * The configuration in a file that was read.
 * @throws ConfigError that lists every problem by key; for invalid JSON, with line and column.
 */
export async function parseConfig(
  { text }: Pick<ConfigText, 'text'>,
  { file, env, readFile = readText }: LoadOptions,
): Promise<Config> {
  const folder = dirname(resolve(file));
  const { document, problems } = await interpolate(parsed(file, text), { env, readFile, folder });
  const environment = environmentProxies(env);
  const { data, error } = configFile.safeParse(document, { reportInput: true });
  const found = error === undefined ? [] : problemsOf(error.issues, configJsonSchema());
  const others = [...found, ...crossProblems(document), ...environment.problems];
  const all = [...problems, ...withoutThoseOf(problems, others)];
  if (data === undefined || all.length > 0) throw new ConfigError(file, all.map(inWords));
  return settled(data, { folder, proxies: environment.proxies });
}

/**
 * Reads only where the management listener is; the rest of the file may have problems.
 * @throws ConfigError
 */
export async function loadManagement({ file, env, readFile = readText }: LoadOptions): Promise<Config['management']> {
  const whole: unknown = parsed(file, await content(file, readFile));
  const section = typeof whole === 'object' && whole !== null && 'management' in whole ? whole.management : {};
  const { document, problems } = await interpolate(
    { management: section },
    { env, readFile, folder: dirname(resolve(file)) },
  );
  const { data, error } = managementOnly.safeParse(document, { reportInput: true });
  if (data !== undefined && problems.length === 0) return data.management;
  const found = error === undefined ? [] : problemsOf(error.issues, configJsonSchema());
  throw new ConfigError(file, [...problems, ...withoutThoseOf(problems, found)].map(inWords));
}

const managementOnly = configFile.pick({ management: true });

function readText(path: string): Promise<string> {
  return fs.readFile(path, 'utf8');
}

async function content(file: string, readFile: (path: string) => Promise<string>): Promise<string> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new ConfigError(file, [`it cannot be read: ${reasonOf(cause)}`], { cause });
  }
}

function parsed(file: string, text: string): unknown {
  try {
    return readJson(text);
  } catch (cause) {
    if (!(cause instanceof JsonError)) throw cause;
    throw new ConfigError(file, [`line ${cause.line}, column ${cause.column}: ${cause.message}`], { cause });
  }
}

/** Drops the problems of keys whose `${…}` could not be replaced: they have no value to check. */
function withoutThoseOf(failed: readonly Problem[], others: readonly Problem[]): readonly Problem[] {
  const keys = new Set(failed.map(({ path }) => keyText(path)));
  return others.filter(({ path }) => !keys.has(keyText(path)));
}
