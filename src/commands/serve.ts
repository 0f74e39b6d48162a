import { createApp } from '../app.ts';
import { loadConfig } from '../config/load.ts';
import { drain } from '../drain.ts';
import { startInOrder } from '../lifecycle.ts';
import type { FailpointHook } from '../storage/filesystem/failpoints.ts';
import { createLog } from '../telemetry/log.ts';

export interface ServeOptions {
  readonly file: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  /** Resolves at the first signal to stop; `hurry` aborts at the second. */
  readonly stopAsked: Promise<void>;
  readonly hurry: AbortSignal;
  readonly failpoint: FailpointHook;
}

/**
 * Runs the mirror until it is asked to stop.
 * @throws ConfigError; Error with one clear line when a part cannot start.
 */
export async function serve({ file, env, version, stopAsked, hurry, failpoint }: ServeOptions): Promise<void> {
  const config = await loadConfig({ file, env });
  const log = createLog({ level: config.log.level });
  const app = createApp({ config, version, log, failpoint });
  const stop = await startInOrder(app.parts);
  log.logger.info({ address: app.address() }, 'listening');
  log.flush();
  await stopAsked;
  app.beginDraining();
  log.logger.info('draining');
  try {
    await drain(stop, config.shutdown, { hurry });
    log.logger.info('stopped');
  } finally {
    log.close();
  }
}
