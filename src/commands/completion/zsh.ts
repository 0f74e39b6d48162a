import {
  type CompletedCommand,
  type CompletedOption,
  everyCommand,
  nameOf,
  singleQuoted,
  type Values,
} from './tree.ts';

/** A script for zsh: to be sourced, or written to a file `_<name>` in a folder of `fpath`. Pure. */
export function zshScript(program: CompletedCommand, name: string): string {
  const functions = everyCommand(program).map((command) => functionOf(command, name));
  return `#compdef ${name}
# zsh completion of ${name}: source it after compinit, or write it to _${name} in a folder of fpath.
${functions.join('')}if [[ $funcstack[1] == _${name} ]]; then
  _${name} "$@"
else
  compdef _${name} ${name}
fi
`;
}

function functionName({ path }: CompletedCommand, name: string): string {
  return ['', name, ...path].join('_');
}

function functionOf(command: CompletedCommand, name: string): string {
  const options = command.options.map(optionSpec);
  return command.commands.length === 0
    ? leafFunction(functionName(command, name), [...options, ...argumentSpecs(command)])
    : groupFunction(command, name, options);
}

function leafFunction(name: string, specs: readonly string[]): string {
  return `${name}() {\n  _arguments -s${continued(specs)}\n}\n`;
}

function groupFunction(command: CompletedCommand, name: string, options: readonly string[]): string {
  const described = command.commands.map((one) =>
    singleQuoted(`${nameOf(one)}:${one.description.replaceAll(':', '\\:')}`),
  );
  const cases = command.commands.map((one) => `        ${nameOf(one)}) ${functionName(one, name)} ;;\n`);
  return `${functionName(command, name)}() {
  local curcontext=$curcontext state line
  local -a commands
  _arguments -C${continued([...options, "'1: :->command'", "'*:: :->argument'"])}
  case $state in
    command)
      commands=(${described.join(' ')})
      _describe -t commands command commands ;;
    argument)
      case $line[1] in
${cases.join('')}      esac ;;
  esac
}
`;
}

function continued(specs: readonly string[]): string {
  return specs.map((spec) => ` \\\n    ${spec}`).join('');
}

/** `'(-c --config)'{-c,--config}'[the configuration]:file:_files'` */
function optionSpec({ flags, description, values }: CompletedOption): string {
  const about = singleQuoted(
    `[${description.replaceAll(/[[\]\\]/g, String.raw`\$&`)}]${values ? `: :${actionFor(values)}` : ''}`,
  );
  const [only = '', ...others] = flags;
  return others.length === 0 ? `${only}${about}` : `'(${flags.join(' ')})'{${flags.join(',')}}${about}`;
}

function argumentSpecs({ values }: CompletedCommand): readonly string[] {
  return values.map((one) => singleQuoted(`*: :${actionFor(one)}`)).slice(0, 1);
}

function actionFor(values: Values): string {
  switch (values.kind) {
    case 'words':
      return `(${values.words.join(' ')})`;
    case 'file':
      return '_files';
    case 'folder':
      return '_files -/';
    case 'any':
      return ' ';
  }
}
