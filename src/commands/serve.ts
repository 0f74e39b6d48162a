import { once } from 'node:events';
import { type AppDeps, createApp } from '../app/app.ts';
import { newReplicaId } from '../cluster/membership.ts';
import { parseConfig, readConfig } from '../config/loading/load.ts';
import { sha256OfTlsFiles } from '../config/loading/tls-files.ts';
import { warningsOf } from '../config/loading/checks.ts';
import { drain, type Part, StartFailure, startInOrder, type StopAll } from '../app/lifecycle.ts';
import { abortable } from '../mirror/concurrency/abortable-wait.ts';
import type { FailpointHook } from '../storage/filesystem/failpoints.ts';
import { createLog } from '../telemetry/log.ts';
import { createTracing } from '../telemetry/tracing.ts';
import { Reloading } from '../app/reloading.ts';

export interface ServeOptions {
  readonly file: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  readonly nodeVersion: string;
  /** Aborts at the first signal to stop, also during the start. */
  readonly stop: AbortSignal;
  /** Aborts at the second signal: stop without waiting. */
  readonly force: AbortSignal;
  /** Registers a function to be called on SIGHUP. */
  readonly onReloadAsked: (reload: () => void) => void;
  /** Registers a function to be called for every unhandled rejection. The process continues. */
  readonly onUnhandledRejection: (report: (cause: unknown) => void) => void;
  /** Registers a function to be called for an uncaught exception. The process exits when it has resolved. */
  readonly onUncaughtException: (report: (cause: unknown) => Promise<void>) => void;
  readonly failpoint: FailpointHook | undefined;
}

/**
 * Runs the mirror until it is asked to stop.
 * @throws ConfigError; StartFailure with one clear line when a part cannot start; AggregateError when parts did not stop.
 */
export async function serve(options: ServeOptions): Promise<void> {
  const { file, env } = options;
  const loaded = await unlessStopped(load({ file, env }), options.stop);
  if (!loaded) return;
  const { config, configSha256, tlsSha256 } = loaded;
  // Made here, so that every line of the log names the replica.
  const replicaId = config.cluster && newReplicaId(config.cluster.replicaName);
  const tracing = createTracing(options);
  const log = createLog({ level: config.log.level, replica: replicaId, traceId: tracing?.traceId });
  options.onUncaughtException((cause) => {
    log.logger.fatal({ err: cause }, 'uncaught exception');
    return log.close();
  });
  try {
    await serveWith({ config, configSha256, tlsSha256, log, replicaId, tracing }, options);
  } finally {
    if (!options.force.aborted) await tracing?.flush();
    await log.close();
  }
}

interface Served extends Pick<AppDeps, 'config' | 'log' | 'replicaId' | 'tracing'> {
  readonly configSha256: string;
  /** See `Reloading`. */
  readonly tlsSha256: string;
}

async function load({ file, env }: Pick<ServeOptions, 'file' | 'env'>) {
  const read = await readConfig(file);
  const config = await parseConfig(read, { file, env });
  return { config, configSha256: read.sha256, tlsSha256: sha256OfTlsFiles(config) };
}

async function serveWith(served: Served, options: ServeOptions): Promise<void> {
  const { config, configSha256, tlsSha256, log } = served;
  const { file, env, version, nodeVersion, stop, force, onReloadAsked, failpoint } = options;
  const revision = env['LAYERWELL_REVISION']; // Set by the image.
  const app = createApp({ ...served, version, revision, nodeVersion, failpoint });
  options.onUnhandledRejection((cause) => app.reportUnhandled(cause));
  for (const warning of warningsOf(config)) log.logger.warn({ warning }, 'configuration');
  const stopAll = await startUnlessStopped(app.parts, stop);
  if (!stopAll) return;
  const reloading = new Reloading({
    file,
    env,
    started: config,
    sha256: configSha256,
    tlsSha256,
    apply: (changed) => app.reload(changed),
    onEnded: (result) => app.reloadEnded(result),
    log,
  });
  reloading.start();
  onReloadAsked(() => void reloading.reload());
  app.reloadBy(() => reloading.reload());
  log.logger.info({ address: app.address(), version, nodeVersion }, 'listening');
  log.flush();
  app.pingUpstreams();
  if (!stop.aborted) await once(stop, 'abort');
  reloading.stop();
  app.beginDraining();
  log.logger.info('draining');
  log.flush();
  await drain(stopAll, reloading.current.shutdown, { force });
  log.logger.info('stopped');
}

/** @returns undefined when the stop signal came first. */
async function unlessStopped<Value>(work: Promise<Value>, stop: AbortSignal): Promise<Value | undefined> {
  try {
    return await abortable(work, stop);
  } catch (error) {
    if (stop.aborted && error === stop.reason) return undefined;
    throw error;
  }
}

/** As {@link unlessStopped}; parts that had started are stopped again. */
async function startUnlessStopped(parts: readonly Part[], signal: AbortSignal): Promise<StopAll | undefined> {
  try {
    return await startInOrder(parts, { signal });
  } catch (error) {
    if (error instanceof StartFailure && signal.aborted && error.cause === signal.reason) return undefined;
    throw error;
  }
}
