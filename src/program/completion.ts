import { Argument, type Command, type Option } from 'commander';
import type { CompletedCommand, CompletedOption, Values } from '../commands/completion/tree.ts';
import { endOnSignals, run } from './exit.ts';

/** The command that prints what a shell needs to complete all others. */
export function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print the completions for a shell: source them, or see docs/command-line.md')
    .addArgument(new Argument('<shell>', 'which').choices(['bash', 'zsh', 'fish']))
    .action((shell: 'bash' | 'zsh' | 'fish') =>
      run(async () => {
        endOnSignals();
        process.stdout.write(await scriptFor(shell, program));
      }),
    );
}

async function scriptFor(shell: 'bash' | 'zsh' | 'fish', program: Command): Promise<string> {
  const [tree, name] = [completedCommand(program), program.name()];
  switch (shell) {
    case 'bash':
      return (await import('../commands/completion/bash.ts')).bashScript(tree, name);
    case 'zsh':
      return (await import('../commands/completion/zsh.ts')).zshScript(tree, name);
    case 'fish':
      return (await import('../commands/completion/fish.ts')).fishScript(tree, name);
  }
}

/** A command as a shell completes it. Pure. */
export function completedCommand(command: Command, path: readonly string[] = []): CompletedCommand {
  const help = command.createHelp();
  return {
    path,
    description: command.description(),
    options: help.visibleOptions(command).map(completedOption),
    values: command.registeredArguments.map((one) => valuesOf(one.argChoices, one.name())),
    commands: help.visibleCommands(command).map((one) => completedCommand(one, [...path, one.name()])),
  };
}

function completedOption({ short, long, flags, description, argChoices, required, optional }: Option): CompletedOption {
  const [, value = ''] = /[<[]([^>\].]+)/.exec(flags) ?? [];
  return {
    flags: [short, long].filter((flag) => flag !== undefined),
    description,
    values: required || optional ? valuesOf(argChoices, value) : undefined,
  };
}

/** By the choices, else by the name of the place: `<file>`, `<folder>`. */
function valuesOf(choices: readonly string[] | undefined, name: string): Values {
  if (choices !== undefined) return { kind: 'words', words: choices };
  return name === 'file' || name === 'folder' ? { kind: name } : { kind: 'any' };
}
