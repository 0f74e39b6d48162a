import { type CompletedCommand, type CompletedOption, everyCommand, nameOf, type Values } from './tree.ts';

/** A script for fish 3 and later: to be sourced, or written to ~/.config/fish/completions. Pure. */
export function fishScript(program: CompletedCommand, name: string): string {
  const all = everyCommand(program);
  const taking = all.flatMap(({ path, options }) =>
    options
      .filter(({ values }) => values)
      .flatMap(({ flags }) => flags.map((flag) => quoted(`${path.join(' ')}:${flag}`))),
  );
  const paths = all.filter(({ path }) => path.length > 0).map(({ path }) => quoted(path.join(' ')));
  return `# fish completion of ${name}: source it, or write it to ~/.config/fish/completions/${name}.fish.
function __${name}_at --description 'Whether the words so far lead to this command'
  set -l at ''
  set -l skips false
  set -l words (commandline -opc)
  set -e words[1]
  for word in $words
    if test $skips = true
      set skips false
      continue
    end
    set -l next (string trim -- "$at $word")
    switch "$at:$word"
      case ${taking.join(' ')}
        set skips true
      case '*'
        switch $next
          case ${paths.join(' ')}
            set at $next
        end
    end
  end
  test "$at" = "$argv[1]"
end
complete -c ${name} -f
${all.flatMap((command) => linesFor(command, name)).join('\n')}
`;
}

function linesFor(command: CompletedCommand, name: string): readonly string[] {
  const begin = `complete -c ${name} -n ${quoted(`__${name}_at ${quoted(command.path.join(' '))}`)}`;
  const commands = command.commands.map((one) => `${begin} -a ${nameOf(one)} -d ${quoted(one.description)}`);
  const values = command.values.slice(0, 1).flatMap((one) => (one.kind === 'any' ? [] : [`${begin} ${valuesOf(one)}`]));
  return [...commands, ...values, ...command.options.map((option) => `${begin} ${optionOf(option)}`)];
}

function optionOf({ flags, description, values }: CompletedOption): string {
  const named = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  return [...named, ...(values ? [`-r ${valuesOf(values)}`] : []), `-d ${quoted(description)}`].join(' ');
}

function valuesOf(values: Values): string {
  switch (values.kind) {
    case 'words':
      return `-f -a ${quoted(values.words.join(' '))}`;
    case 'file':
      return '-F';
    case 'folder':
      return "-f -a '(__fish_complete_directories)'";
    case 'any':
      return '-f';
  }
}

/** In single quotes, as fish reads them. */
function quoted(text: string): string {
  return `'${text.replaceAll(/[\\']/g, String.raw`\$&`)}'`;
}
