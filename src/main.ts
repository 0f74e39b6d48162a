import { once } from 'node:events';
import { createRequire } from 'node:module';
import { Command } from 'commander';
import { ConfigError } from './config/problems.ts';
import type { FailpointHook } from './storage/filesystem/failpoints.ts';
import { keepYoungGeneration } from './young-generation.ts';

const failed = 1;
const configRefused = 2;

/** `LAYERWELL_FAILPOINT=blob.renamed` kills the process there; how the crash tests choose their instant. */
function failpointOf(wanted: string | undefined): FailpointHook {
  return (step) => {
    if (step === wanted) process.kill(process.pid, 'SIGKILL');
  };
}

/** @param work returns the exit code, where that is not 0. */
async function run(work: () => Promise<number | void>): Promise<void> {
  try {
    process.exitCode = (await work()) ?? 0;
  } catch (error) {
    process.exitCode = error instanceof ConfigError ? configRefused : failed;
    process.stderr.write(`${linesOf(error)}\n`);
  }
}

/** What an operator has to know, innermost cause last; stacks are for the log. */
function linesOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof ConfigError) return error.message;
  const cause = error.cause instanceof Error && !error.message.includes(error.cause.message) ? error.cause : undefined;
  return cause ? `${error.message}: ${linesOf(cause)}` : error.message;
}

function stopSignals(): { readonly stopAsked: Promise<void>; readonly hurry: AbortSignal } {
  const hurry = new AbortController();
  const first = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]).then(() => {
    process.once('SIGTERM', () => hurry.abort());
    process.once('SIGINT', () => hurry.abort());
  });
  return { stopAsked: first, hurry: hurry.signal };
}

/** Of the package, which lies beside both `src` and `dist`. */
function packageVersion(): string {
  const manifest: unknown = createRequire(import.meta.url)('../package.json');
  const isNamed = typeof manifest === 'object' && manifest !== null && 'version' in manifest;
  return isNamed ? String(manifest.version) : 'unknown';
}

const version = packageVersion();
const program = new Command('layerwell')
  .version(version)
  .description('A pull-through caching mirror for container registries');

program
  .command('serve')
  .description('run the mirror')
  .option('-c, --config <file>', 'the configuration', 'mirror.config.json')
  .action(({ config }: { config: string }) =>
    run(async () => {
      keepYoungGeneration(); // Before there is much that is new.
      const { serve } = await import('./commands/serve.ts');
      return serve({
        file: config,
        env: process.env,
        version,
        nodeVersion: process.version,
        ...stopSignals(),
        onReloadAsked: (reload) => process.on('SIGHUP', reload),
        onUnhandledRejection: (report) => process.on('unhandledRejection', report),
        failpoint: failpointOf(process.env['LAYERWELL_FAILPOINT']),
      });
    }),
  );

program
  .command('check')
  .description('say whether the configuration can be used; exit code 2 if not, 1 if an upstream cannot')
  .option('-c, --config <file>', 'the configuration', 'mirror.config.json')
  .option('--online', 'ask every upstream as well: whether it answers, and accepts its credentials', false)
  .action(({ config, online }: { config: string; online: boolean }) =>
    run(async () => {
      const { check } = await import('./commands/check.ts');
      return check({
        file: config,
        env: process.env,
        version,
        isOnline: online,
        print: (text) => process.stdout.write(text),
      });
    }),
  );

await program.parseAsync();
