import { loadConfig } from '../config/loading/load.ts';
import { ConfigError } from '../config/loading/problems.ts';
import { warningsOf } from '../config/loading/checks.ts';
import type { Config, UpstreamConfig } from '../config/schema.ts';
import { systemClock } from '../mirror/ports/clock.ts';
import type { Observer } from '../mirror/ports/observer.ts';
import { createRegistryClient } from '../upstream/registry-client.ts';
import type { UpstreamSettings } from '../upstream/settings.ts';
import { upstreamEntries } from '../app/upstream-settings.ts';
import { checkRedis } from './check-redis.ts';
import { type CheckedUpstream, failuresIn, tableOf } from './check-report.ts';
import { fileProblems } from './named-files.ts';

export interface CheckOptions {
  readonly file: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  /** Whether the upstreams are probed too. */
  readonly isOnline: boolean;
  readonly print: (text: string) => void;
}

const somethingFailed = 1;
/** For all probes of one upstream. */
const askWithinMs = 60_000;

/**
 * Checks a configuration and, online, whether each upstream and each Redis answers and accepts its credentials. Nothing is pulled or stored.
 * @returns the exit code: 0, or 1 when an upstream or a Redis cannot be used.
 * @throws ConfigError with every problem of the file, and of the files it names.
 */
export async function check({ file, env, version, isOnline, print }: CheckOptions): Promise<number> {
  const config = await loadConfig({ file, env });
  const settings = await usableEntries(config, { file, version });
  print(`${file}: ok\n`);
  for (const warning of warningsOf(config)) print(`warning: ${warning}\n`);
  if (!isOnline) return 0;
  const checked = await Promise.all(config.upstreams.map((upstream) => checkUpstream(upstream, settings)));
  print(`\n${tableOf(checked)}`);
  const failures = failuresIn(checked);
  if (failures.length > 0) print(`\n${failures.map((failure) => `${failure}\n`).join('')}`);
  const redis = await checkRedis(config);
  if (redis.length > 0) print(`\n${redis.map(({ line }) => `${line}\n`).join('')}`);
  const isUsable = failures.length === 0 && redis.every((one) => one.isUsable);
  return isUsable ? 0 : somethingFailed;
}

/** The settings of the upstreams, after every file that the configuration names was read. */
async function usableEntries(
  config: Config,
  { file, version }: Pick<CheckOptions, 'file' | 'version'>,
): Promise<ReadonlyMap<string, UpstreamSettings>> {
  const problems = await fileProblems(config);
  try {
    const entries = upstreamEntries(config, { version });
    if (problems.length === 0) return entries;
  } catch (cause) {
    if (!(cause instanceof ConfigError)) throw cause;
    throw new ConfigError(file, [...cause.problems, ...problems], { cause });
  }
  throw new ConfigError(file, problems);
}

async function checkUpstream(
  { name, isPattern, freshness }: UpstreamConfig,
  entries: ReadonlyMap<string, UpstreamSettings>,
): Promise<CheckedUpstream> {
  const settings = entries.get(name);
  if (isPattern || !settings) return { name, notAsked: 'a pattern, not asked' };
  if (freshness.offline) return { name, notAsked: 'offline, not asked' };
  const client = createRegistryClient({ name, label: name, settings, clock: systemClock, observer: silentObserver() });
  try {
    const endpoints = await client.probe({ signal: AbortSignal.timeout(askWithinMs) });
    return { name, settings, endpoints };
  } finally {
    await client.close();
  }
}

/** The command has no metrics. */
function silentObserver(): Observer {
  const ignore = () => {};
  return {
    answered: ignore,
    rejected: ignore,
    upstreamAnswered: ignore,
    upstreamRetried: ignore,
    upstreamFailed: ignore,
    secretFetched: ignore,
    circuitChanged: ignore,
    upstreamBytes: ignore,
    blobBytes: ignore,
    rateLimitSeen: ignore,
    downloadStarted: ignore,
    downloadsWaiting: ignore,
    downloadEnded: ignore,
    collapsed: ignore,
    tagRevalidated: ignore,
    tagMoved: ignore,
    servedStale: ignore,
    siblingAsked: ignore,
    siblingServed: ignore,
    contentStored: ignore,
    imageStored: ignore,
    evicted: ignore,
    corruptionFound: ignore,
    indexRebuilt: ignore,
    integrityChecked: ignore,
    scrubbed: ignore,
    internalError: ignore,
  };
}
