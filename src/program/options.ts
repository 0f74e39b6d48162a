import { createInterface } from 'node:readline';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseDuration } from '../config/sections/units.ts';

/** The container image sets the variable, so that a command in a running container finds the file that the mirror runs with. */
export function configOption(): Option {
  return new Option('-c, --config <file>', 'the configuration').env('LAYERWELL_CONFIG').default('mirror.config.json');
}

export function jsonOption(): Option {
  return new Option('--json', 'print JSON').default(false);
}

export function durationOption(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new InvalidArgumentError('expected a duration such as "90s" or "5m"');
  return ms;
}

export function secondsOption(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('expected a number of seconds');
  return Number(text);
}

/** How commands find the running mirror. */
export interface MirrorOptions {
  readonly config: string;
  readonly server?: string;
  readonly tokenFile?: string;
  readonly json: boolean;
}

/** A command that asks the running mirror. */
export function askingCommand(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .addOption(configOption())
    .option('--server <url>', 'of its management listener, instead of the one in the configuration')
    .option('--token-file <file>', 'with its token, instead of the one in the configuration')
    .addOption(jsonOption());
}

/** What every such command is given. */
export function askingWith<Options extends MirrorOptions>({ config, ...others }: Options) {
  const print = (text: string) => void process.stdout.write(text);
  const printError = (text: string) => void process.stderr.write(text);
  return { file: config, env: process.env, ...others, print, printError };
}

/** Asks at the terminal, and takes `y` or `yes` for a yes; undefined without a terminal. */
export function confirmation(): ((question: string) => Promise<boolean>) | undefined {
  const { stdin, stderr } = process;
  if (!stdin.isTTY || !stderr.isTTY) return undefined;
  return async (question) => {
    stderr.write(question);
    for await (const line of createInterface({ input: stdin, terminal: false })) return /^y(?:es)?$/i.test(line.trim());
    return false; // The end of the input.
  };
}
