import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { bashScript } from '../../src/commands/completion/bash.ts';
import { fishScript } from '../../src/commands/completion/fish.ts';
import type { CompletedCommand } from '../../src/commands/completion/tree.ts';
import { zshScript } from '../../src/commands/completion/zsh.ts';
import { completedCommand } from '../../src/program/completion.ts';
import { createProgram } from '../../src/program/program.ts';
import { run } from '../support/processes.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { describeWithTools, tool } from '../support/tools.ts';

/** What the shell offers for the last word of a line. `cwd` has a file and a folder. */
type Completes = (line: string) => Promise<readonly string[]>;

/** A folder with the script, a file and a folder. */
async function written(script: string): Promise<string> {
  const folder = await temporaryDirectory();
  await writeFile(join(folder, 'script'), script);
  await writeFile(join(folder, 'mirror.config.json'), '{}');
  return folder;
}

async function bash(folder: string): Promise<Completes> {
  // As readline does: words are split at blanks and at the equals sign.
  const program = `source ./script
words=(); for word in $1; do case $word in
  --*=*) words+=("\${word%%=*}" = ); [[ -n \${word#*=} ]] && words+=("\${word#*=}") ;;
  *) words+=("$word") ;;
esac; done
[[ $1 == *' ' ]] && words+=('')
COMP_WORDS=("\${words[@]}"); COMP_CWORD=$((\${#words[@]} - 1))
complete -p layerwell >/dev/null && _layerwell && printf '%s\\n' "\${COMPREPLY[@]}"`;
  return async (line) => {
    const { stdout } = await run('bash', ['--norc', '-c', program, 'bash', line], { cwd: folder });
    return stdout.split('\n').filter((word) => word !== '');
  };
}

/** At a terminal of its own, in a real line editor: what it writes after TAB, with `<word>` around what it offers. */
async function zsh(folder: string): Promise<Completes> {
  const program = `zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1=; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -D -u; source ./script'
zpty -w shell 'compadd() { local -a hits; builtin compadd -O hits "$@"; (( $#hits )) && print -rl -- "<"\${^hits}">" >> offered; builtin compadd "$@" }'
zpty -w shell 'listed() { : > offered; zle complete-word; print ready; }; zle -C complete-word complete-word _main_complete; zle -N listed; bindkey "^I" listed; print prepared'
zpty -r shell seen '*prepared*prepared*'
zpty -w -n shell "$1"$'\\t'
zpty -r shell seen '*ready*'
cat offered`;
  return async (line) => {
    const { stdout } = await run(tool('zsh'), ['-f', '-c', program, 'zsh', line], { cwd: folder });
    return [...new Set([...stdout.matchAll(/^<(.*)>$/gm)].map(([, word = '']) => word))];
  };
}

async function fish(folder: string): Promise<Completes> {
  return async (line) => {
    const script = `source ./script; complete -C ${JSON.stringify(line)}`;
    const { stdout } = await run(tool('fish'), ['--no-config', '-c', script], { cwd: folder, env: { HOME: folder } });
    return stdout
      .split('\n')
      .map((one) => one.split('\t')[0] ?? '')
      .filter((word) => word !== '');
  };
}

const shells = { bash, zsh, fish } as const;
const scripts = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

const tree = completedCommand(createProgram());

/** Descriptions with every character that a shell takes for its own. */
const hostile: CompletedCommand = {
  path: [],
  description: '',
  options: [
    {
      flags: ['--odd'],
      description: `it's "$(touch pwned)" \`touch pwned\` [x]: \\ ; y`,
      values: { kind: 'words', words: ['one', 'two'] },
    },
  ],
  values: [],
  commands: [{ path: ['go'], description: `'; touch pwned; [a]:b\\`, options: [], values: [], commands: [] }],
};

for (const shell of ['bash', 'zsh', 'fish'] as const) {
  describeWithTools([shell], `the completions of ${shell}`, () => {
    describe('of this program', () => {
      test.each<[line: string, words: readonly string[]]>([
        ['layerwell serv', ['serve']],
        ['layerwell client con', ['containerd']],
        ['layerwell completion ', ['bash', 'zsh', 'fish']],
        ['layerwell client docker --und', ['--undo']],
        ['layerwell client docker --url serve --und', ['--undo']],
        ['layerwell check --config mir', ['mirror.config.json']],
        ['layerwell check -c x --onl', ['--online']],
      ])('%s TAB', async (line, words) => {
        const completes = await shells[shell](await written(scripts[shell](tree, 'layerwell')));
        expect((await completes(line)).toSorted()).toEqual(words.toSorted());
      });

      test('every command is offered, and no file beside them', async () => {
        const offered = await (await shells[shell](await written(scripts[shell](tree, 'layerwell'))))('layerwell ');
        expect(offered).toEqual(expect.arrayContaining(['check', 'client', 'completion', 'purge', 'serve', 'stats']));
        expect(offered).not.toContain('mirror.config.json');
      });
    });

    test('descriptions are text: nothing in them runs', async () => {
      const folder = await written(scripts[shell](hostile, 'layerwell'));
      const completes = await shells[shell](folder);
      expect(await completes('layerwell g')).toEqual(['go']);
      expect(await completes('layerwell --odd t')).toEqual(['two']);
      expect((await run('ls', [], { cwd: folder })).stdout).not.toContain('pwned');
    });
  });
}

test('the program prints the script, and bash completes --config=FILE as well', async () => {
  const { stdout } = await run(process.execPath, ['src/main.ts', 'completion', 'bash']);
  const completes = await bash(await written(stdout));
  expect(await completes('layerwell check --config=mir')).toEqual(['mirror.config.json']);
  expect(await completes('layerwell check --config=')).toEqual(expect.arrayContaining(['mirror.config.json']));
});
