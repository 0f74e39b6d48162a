#!/usr/bin/env node
import { write } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, InvalidArgumentError, Option } from 'commander';
import { parseDuration } from './config/sections/units.ts';
import { ConfigError } from './config/loading/problems.ts';
import { StartFailure } from './app/lifecycle.ts';
import type { FailpointHook } from './storage/filesystem/failpoints.ts';
import type { NodeConfigurationChoice } from './commands/node-configuration.ts';
import { keepYoungGeneration } from './app/young-generation.ts';

const failed = 1;
const configRefused = 2;

/** `LAYERWELL_FAILPOINT=blob.renamed` kills the process at that step, for the crash tests. */
function failpointOf(wanted: string | undefined): FailpointHook | undefined {
  if (wanted === undefined) return undefined;
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
    await Promise.race([print(linesOf(error)), sleep(printsWithinMs)]);
  }
  setTimeout(leave, endsByItselfWithinMs).unref();
}

/** By then the process has exited, unless the disk, a name lookup or the reader of stdout hangs. Nothing that runs on is needed. */
const endsByItselfWithinMs = 50;
/** How long the reader of stderr is waited for. */
const printsWithinMs = 400;

/**
 * Exits even if threads hang in system calls: exit(3) would wait for them, execve ends them. The replacing process exits with the same
 * code.
 */
function leave(): void {
  const code = Number(process.exitCode ?? failed);
  process.execve?.(process.execPath, [process.execPath, '--eval', `process.exit(${code})`], {});
  process.exit();
}

/** Prints to stderr. Its reader may never take it. */
function print(text: string): Promise<void> {
  return new Promise((resolve) => write(2, `${text}\n`, () => resolve()));
}

/** The messages of an error and its causes, without stack traces: those are in the log. */
function linesOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof ConfigError) return error.message;
  const cause = error.cause instanceof Error && !error.message.includes(error.cause.message) ? error.cause : undefined;
  const line = cause ? `${error.message}: ${linesOf(cause)}` : error.message;
  return error instanceof StartFailure ? [line, ...error.stopFailures.map(linesOf)].join('\n') : line;
}

function stopSignals(): { readonly stop: AbortSignal; readonly force: AbortSignal } {
  const [stop, force] = [new AbortController(), new AbortController()];
  const onSignal = () => (stop.signal.aborted ? force : stop).abort();
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  return { stop: stop.signal, force: force.signal };
}

/** Ends the process after an uncaught exception, since its state cannot be trusted any more, and prints why. */
function endOn(report: (cause: unknown) => Promise<void>): (error: unknown) => void {
  return (error) => {
    process.exitCode = failed;
    void print(`ended by an uncaught exception: ${linesOf(error)}`);
    void report(error).then(leave, leave);
  };
}

/**
 * libuv runs name lookups on at most half of its threads, each as long as its resolver is silent; the others are for the disk. Called before
 * anything uses a thread. With its default of 4, two lookups that hang stop all others; with 16, a cold blob costs a fifth more CPU than
 * with 12 (`npm run bench -- --only cold-1,cold-10`).
 */
function widenThreadPool(): void {
  process.env['UV_THREADPOOL_SIZE'] ??= '12';
}

/** From package.json, which lies beside both `src` and `dist`. */
function packageVersion(): string {
  const manifest: unknown = createRequire(import.meta.url)('../package.json');
  const isNamed = typeof manifest === 'object' && manifest !== null && 'version' in manifest;
  return isNamed ? String(manifest.version) : 'unknown';
}

/** The container image sets the variable, so that a command in a running container finds the file that the mirror runs with. */
function configOption(): Option {
  return new Option('-c, --config <file>', 'the configuration').env('LAYERWELL_CONFIG').default('mirror.config.json');
}

function durationOption(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new InvalidArgumentError('expected a duration such as "90s" or "5m"');
  return ms;
}

function secondsOption(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('expected a number of seconds');
  return Number(text);
}

/** As the first process of a container, a process without handlers ignores these signals. */
function endOnSignals(): void {
  const endWith = (code: number) => (): void => {
    process.exitCode = code;
    leave();
  };
  process.once('SIGTERM', endWith(128 + 15)).once('SIGINT', endWith(128 + 2));
}

const version = packageVersion();
const program = new Command('layerwell')
  .version(version)
  .description('A pull-through caching mirror for container registries');

program
  .command('serve')
  .description('run the mirror')
  .addOption(configOption())
  .action(({ config }: { config: string }) =>
    run(async () => {
      widenThreadPool();
      keepYoungGeneration();
      const { serve } = await import('./commands/serve.ts');
      return serve({
        file: config,
        env: process.env,
        version,
        nodeVersion: process.version,
        ...stopSignals(),
        onReloadAsked: (reload) => process.on('SIGHUP', reload),
        onUnhandledRejection: (report) => process.on('unhandledRejection', report),
        onUncaughtException: (report) => process.on('uncaughtException', endOn(report)),
        failpoint: failpointOf(process.env['LAYERWELL_FAILPOINT']),
      });
    }),
  );

program
  .command('check')
  .description('say whether the configuration can be used; exit code 2 if not, 1 if an upstream cannot')
  .addOption(configOption())
  .option('--online', 'ask every upstream as well: whether it answers, and accepts its credentials', false)
  .action(({ config, online }: { config: string; online: boolean }) =>
    run(async () => {
      endOnSignals();
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

program
  .command('health')
  .description('ask the running mirror whether it is alive; exit code 1 if not')
  .addOption(configOption())
  .action(({ config }: { config: string }) =>
    run(async () => {
      endOnSignals();
      const { health } = await import('./commands/health.ts');
      return health({ file: config, env: process.env, print: (text) => process.stdout.write(text) });
    }),
  );

/** How commands find the running mirror. */
interface MirrorOptions {
  readonly config: string;
  readonly server?: string;
  readonly tokenFile?: string;
  readonly json: boolean;
}

/** A command that asks the running mirror; its exit codes are in docs/management.md. */
function askingCommand(name: string, description: string): Command {
  return program
    .command(name)
    .description(`${description}; exit code 3 if no mirror answers, 4 if it refuses the token`)
    .addOption(configOption())
    .option('--server <url>', 'of its management listener, instead of the one in the configuration')
    .option('--token-file <file>', 'with its token, instead of the one in the configuration')
    .option('--json', 'print JSON', false);
}

/** What every such command is given. */
function askingWith({ config, ...others }: MirrorOptions) {
  const print = (text: string) => void process.stdout.write(text);
  const printError = (text: string) => void process.stderr.write(text);
  return { file: config, env: process.env, ...others, print, printError };
}

askingCommand('stats', 'what the running mirror has served: hit ratio, bytes saved, upstreams, disk').action(
  (options: MirrorOptions) =>
    run(async () => {
      endOnSignals();
      const { stats } = await import('./commands/stats.ts');
      return stats(askingWith(options));
    }),
);

askingCommand('purge', 'remove an image from the cache of the running mirror')
  .argument('<image>', 'its full name with a tag or digest, such as docker.io/library/nginx:1.27')
  .option('--all-tags', 'the image is a repository: purge all of it', false)
  .option('--dry-run', 'say what would be removed', false)
  .action((image: string, options: MirrorOptions & { readonly allTags: boolean; readonly dryRun: boolean }) =>
    run(async () => {
      endOnSignals();
      const { purge } = await import('./commands/purge.ts');
      const { allTags, dryRun } = options;
      return purge({ ...askingWith(options), image, allTags, dryRun });
    }),
  );

program
  .command('node-configuration')
  .description(
    "let this node's container runtime ask the mirror first; exit code 1 if a file of somebody else is in the way",
  )
  .requiredOption('-s, --settings <file>', 'what to write, as JSON; see docs/nodes.md')
  .option('--root <folder>', 'where the file system of the node is', '/')
  .option('--ready-file <file>', 'a file that exists while everything is in place')
  .addOption(new Option('--watch', 'stay, and repair what is changed').conflicts('remove'))
  .option('--remove', 'remove the files, and put back what they replaced')
  .option('--stay', 'after --remove: wait for a signal to stop')
  .action((chosen: NodeConfigurationChoice) =>
    run(async () => {
      const { nodeConfiguration } = await import('./commands/node-configuration.ts');
      return nodeConfiguration({ ...chosen, nodeIP: process.env['NODE_IP'], stop: stopSignals().stop });
    }),
  );

program
  .command('await-removal')
  .description('wait until a DaemonSet has removed the files of node-configuration from every node')
  .argument('<namespace/name>', 'the DaemonSet')
  .addOption(new Option('--within <seconds>', 'how long').default(60).argParser(secondsOption))
  .action((daemonSet: string, { within }: { within: number }) =>
    run(async () => {
      endOnSignals();
      const { awaitRemovalFrom } = await import('./commands/await-removal.ts');
      const print = (text: string) => process.stdout.write(text);
      return awaitRemovalFrom({ daemonSet, within, env: process.env, print });
    }),
  );

program
  .command('await-reload')
  .description(
    'wait until running mirrors use the configuration; exit code 1 if one refuses it, or does not use it in time',
  )
  .addOption(configOption())
  .requiredOption('-a, --address <host:port>', 'of their management listeners; the host may be the name of several')
  .addOption(new Option('-w, --within <duration>', 'how long to wait').default(300_000, '5m').argParser(durationOption))
  .action(({ config, address, within }: { config: string; address: string; within: number }) =>
    run(async () => {
      endOnSignals();
      const { awaitReload } = await import('./commands/await-reload.ts');
      return awaitReload({ file: config, address, withinMs: within, print: (text) => process.stdout.write(text) });
    }),
  );

await program.parseAsync();
