import type { Command } from 'commander';
import { keepYoungGeneration } from '../app/young-generation.ts';
import type { FailpointHook } from '../storage/filesystem/failpoints.ts';
import { endOn, endOnSignals, reloadSignals, run, stopSignals } from './exit.ts';
import { configOption, jsonOption } from './options.ts';

/** The mirror itself, and what is asked before and while it runs. */
export function addServingCommands(program: Command): void {
  for (const add of [addServe, addCheck, addHealth]) add(program);
}

function addServe(program: Command): void {
  program
    .command('serve')
    .description('run the mirror')
    .addOption(configOption())
    .action(({ config }: { config: string }) =>
      run(async () => {
        // First of all: without handlers these signals end the process, or are ignored by process 1 of a container.
        const signals = { ...stopSignals(), onReloadAsked: reloadSignals() };
        widenThreadPool();
        keepYoungGeneration();
        const { serve } = await import('../commands/serve.ts');
        return serve({
          file: config,
          env: process.env,
          version: versionOf(program),
          nodeVersion: process.version,
          ...signals,
          onUnhandledRejection: (report) => process.on('unhandledRejection', report),
          onUncaughtException: (report) => process.on('uncaughtException', endOn(report)),
          failpoint: failpointOf(process.env['LAYERWELL_FAILPOINT']),
        });
      }),
    );
}

function addCheck(program: Command): void {
  program
    .command('check')
    .description('say whether the configuration can be used; exit code 2 if not, 1 if an upstream or a Redis cannot')
    .addOption(configOption())
    .option('--online', 'ask every upstream as well: whether it answers, and accepts its credentials', false)
    .addOption(jsonOption())
    .action(({ config, online, json }: { config: string; online: boolean; json: boolean }) =>
      run(async () => {
        endOnSignals();
        const { check } = await import('../commands/check.ts');
        return check({
          file: config,
          env: process.env,
          version: versionOf(program),
          isOnline: online,
          json,
          print: (text) => process.stdout.write(text),
        });
      }),
    );
}

function addHealth(program: Command): void {
  program
    .command('health')
    .description('ask the running mirror whether it is alive')
    .addOption(configOption())
    .addOption(jsonOption())
    .action(({ config, json }: { config: string; json: boolean }) =>
      run(async () => {
        endOnSignals();
        const { health } = await import('../commands/health.ts');
        return health({ file: config, env: process.env, json, print: (text) => process.stdout.write(text) });
      }),
    );
}

/** `LAYERWELL_FAILPOINT=blob.renamed` kills the process at that step, for the crash tests. */
function failpointOf(wanted: string | undefined): FailpointHook | undefined {
  if (wanted === undefined) return undefined;
  return (step) => {
    if (step === wanted) process.kill(process.pid, 'SIGKILL');
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

function versionOf(program: Command): string {
  return program.version() ?? 'unknown';
}
