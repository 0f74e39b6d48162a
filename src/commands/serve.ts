import { createApp } from '../app.ts';
import { loadConfig } from '../config/load.ts';
import { warningsOf } from '../config/warnings.ts';
import { drain } from '../drain.ts';
import { startInOrder } from '../lifecycle.ts';
import type { FailpointHook } from '../storage/filesystem/failpoints.ts';
import { createLog } from '../telemetry/log.ts';
import { Reloading } from './reloading.ts';

export interface ServeOptions {
  readonly file: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  readonly nodeVersion: string;
  /** Resolves at the first signal to stop; `hurry` aborts at the second. */
  readonly stopAsked: Promise<void>;
  readonly hurry: AbortSignal;
  /** Calls back whenever the process is told to read its configuration again. */
  readonly onReloadAsked: (reload: () => void) => void;
  /** Calls back with every failure that no code handled. The process goes on. */
  readonly onUnhandledRejection: (report: (cause: unknown) => void) => void;
  readonly failpoint: FailpointHook;
}

/**
 * Runs the mirror until it is asked to stop.
 * @throws ConfigError; Error with one clear line when a part cannot start.
 */
export async function serve(options: ServeOptions): Promise<void> {
  const { file, env, version, nodeVersion, stopAsked, hurry, onReloadAsked, failpoint } = options;
  const config = await loadConfig({ file, env });
  const log = createLog({ level: config.log.level });
  const app = createApp({ config, version, nodeVersion, log, failpoint });
  options.onUnhandledRejection((cause) => app.reportUnhandled(cause));
  for (const warning of warningsOf(config)) log.logger.warn({ warning }, 'configuration');
  const stop = await startInOrder(app.parts);
  const reloading = new Reloading({ file, env, started: config, apply: (changed) => app.reload(changed), log });
  reloading.start();
  onReloadAsked(() => void reloading.reload());
  log.logger.info({ address: app.address() }, 'listening');
  log.flush();
  app.knock();
  await stopAsked;
  reloading.stop();
  app.beginDraining();
  log.logger.info('draining');
  try {
    await drain(stop, reloading.current.shutdown, { hurry });
    log.logger.info('stopped');
  } finally {
    log.close();
  }
}
