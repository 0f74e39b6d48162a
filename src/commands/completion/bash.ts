import {
  type CompletedCommand,
  type CompletedOption,
  everyCommand,
  singleQuoted,
  type Values,
  wordsAfter,
} from './tree.ts';

/** A script for bash 3.2 and later, without the package bash-completion. Pure. */
export function bashScript(program: CompletedCommand, name: string): string {
  const all = everyCommand(program);
  const paths = all.filter(({ path }) => path.length > 0).map(({ path }) => singleQuoted(path.join(' ')));
  return `# bash completion of ${name}: source it, or write it to a file that bash-completion reads.
_${name}() {
  local IFS=$'\\n' cur=\${COMP_WORDS[COMP_CWORD]} at= option= word i
  # readline splits --option=value at the equals sign.
  [[ $cur == = ]] && cur=
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ $word == = && -n $option ]]; then continue; fi
    if [[ -n $option ]]; then option=; continue; fi
    if _${name}_takes_value "$at:$word"; then option=$word; continue; fi
    case "\${at:+$at }$word" in
      ${paths.join(' | ')}) at="\${at:+$at }$word" ;;
    esac
  done
  COMPREPLY=()
  if [[ -n $option ]]; then
    case "$at:$option" in
${all.flatMap(valueCases).join('')}    esac
    return
  fi
  case "$at" in
${all.map(commandCase).join('')}  esac
}
_${name}_takes_value() {
  case "$1" in
    ${all.flatMap((command) => command.options.filter(({ values }) => values).flatMap((option) => keysOf(command, option))).join(' | ')}) return 0 ;;
  esac
  return 1
}
complete -F _${name} ${name}
`;
}

function keysOf({ path }: CompletedCommand, { flags }: CompletedOption): readonly string[] {
  return flags.map((flag) => singleQuoted(`${path.join(' ')}:${flag}`));
}

function valueCases(command: CompletedCommand): readonly string[] {
  return command.options.flatMap((option) =>
    option.values === undefined
      ? []
      : [`      ${keysOf(command, option).join(' | ')}) ${completing(option.values)} ;;\n`],
  );
}

function completing(values: Values): string {
  switch (values.kind) {
    case 'words':
      return choosing(values.words);
    case 'file':
      return 'compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur"))';
    case 'folder':
      return 'compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur"))';
    case 'any':
      return ':';
  }
}

function commandCase(command: CompletedCommand): string {
  const flags = command.options.flatMap((option) => option.flags);
  const key = singleQuoted(command.path.join(' '));
  const takesFile = command.values.some(({ kind }) => kind === 'file');
  const other = takesFile ? completing({ kind: 'file' }) : choosing(wordsAfter(command));
  return `    ${key}) if [[ $cur == -* ]]; then ${choosing(flags)}; else ${other}; fi ;;\n`;
}

/** The words stand in lines: IFS is a line feed. */
function choosing(words: readonly string[]): string {
  return words.length === 0 ? ':' : `COMPREPLY=($(compgen -W $'${words.join(String.raw`\n`)}' -- "$cur"))`;
}
