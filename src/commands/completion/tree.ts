/** What may stand in the place of a value. */
export type Values =
  | { readonly kind: 'words'; readonly words: readonly string[] }
  | { readonly kind: 'file' }
  | { readonly kind: 'folder' }
  | { readonly kind: 'any' };

export interface CompletedOption {
  /** `-c` and `--config`. */
  readonly flags: readonly string[];
  readonly description: string;
  /** Undefined if it takes no value. */
  readonly values: Values | undefined;
}

/** A command as a shell completes it. */
export interface CompletedCommand {
  /** The words that lead to it: none for the program itself. */
  readonly path: readonly string[];
  readonly description: string;
  readonly options: readonly CompletedOption[];
  /** Its arguments, in order; the last may be repeated. */
  readonly values: readonly Values[];
  readonly commands: readonly CompletedCommand[];
}

/** A command with all commands below it. */
export function everyCommand(command: CompletedCommand): readonly CompletedCommand[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}

export function nameOf({ path }: CompletedCommand): string {
  return path.at(-1) ?? '';
}

/** What a word after a command may be, besides an option: a command, or one of the words for an argument. */
export function wordsAfter({ commands, values }: CompletedCommand): readonly string[] {
  const ofArguments = values.flatMap((one) => (one.kind === 'words' ? one.words : []));
  return [...commands.map(nameOf), ...ofArguments];
}

/** In single quotes, as bash and zsh read them. */
export function singleQuoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
