import { createRequire } from 'node:module';
import { Command } from 'commander';
import { addArchiveCommands } from './archives.ts';
import { addAskingCommands } from './asking.ts';
import { addClientCommands } from './client.ts';
import { addCompletion } from './completion.ts';
import { addJobCommands } from './jobs.ts';
import { addKubernetesCommands } from './kubernetes.ts';
import { addServingCommands } from './serving.ts';

/** What the exit codes of all commands mean. */
export const exitCodeWords = {
  0: 'done',
  1: 'not done, or the answer is no; or an option is wrong',
  2: 'the configuration file cannot be used',
  3: 'no mirror answers',
  4: 'the mirror refuses the request: its token is missing or wrong, or the host is not known',
  130: 'interrupted: a job that was begun is cancelled',
} as const;

/** The program with all its commands. */
export function createProgram(): Command {
  const program = new Command('layerwell')
    .version(packageVersion())
    .description('A pull-through caching mirror for container registries')
    .addHelpText('afterAll', `\nExit codes:\n${exitCodeLines()}`);
  addServingCommands(program);
  addAskingCommands(program);
  addJobCommands(program);
  addArchiveCommands(program);
  addClientCommands(program);
  addKubernetesCommands(program);
  addCompletion(program);
  return program;
}

function exitCodeLines(): string {
  return Object.entries(exitCodeWords)
    .map(([code, words]) => `  ${code.padEnd(3)}  ${words}`)
    .join('\n');
}

/** From package.json, beside both `src` and `dist`. */
function packageVersion(): string {
  const manifest: unknown = createRequire(import.meta.url)('../../package.json');
  const isNamed = typeof manifest === 'object' && manifest !== null && 'version' in manifest;
  return isNamed ? String(manifest.version) : 'unknown';
}
