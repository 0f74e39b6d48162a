import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { createProgram, exitCodeWords } from '../../../src/program/program.ts';

const page = (name: string) => readFileSync(resolve(import.meta.dirname, '../../../docs', name), 'utf8');
const commandLine = page('command-line.md');

function everyCommand(command: Command): readonly Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}

test('every command is on a page', () => {
  const pages = commandLine + page('management.md');
  const names = createProgram().commands.map((command) => command.name());
  expect(names.filter((name) => !pages.includes(`layerwell ${name}`))).toEqual([]);
});

test('the page has the exit codes that the help of every command lists', () => {
  const rows = Object.entries(exitCodeWords).map(([code, words]) => `| ${code} | ${words} |`);
  expect(commandLine).toContain(rows.join('\n'));
});

test('an option means the same in every command', () => {
  const options = everyCommand(createProgram()).flatMap((command) => command.options);
  const kinds = Map.groupBy(options, ({ long, short }) => long ?? short ?? '');
  const several = [...kinds].filter(([, ones]) => new Set(ones.map(({ required }) => required)).size > 1);
  expect(several.map(([flag]) => flag)).toEqual([]);
});

test('every command that prints what it found can print JSON', () => {
  const withoutJson = everyCommand(createProgram())
    .filter(({ commands, options }) => commands.length === 0 && !options.some(({ long }) => long === '--json'))
    .map((command) => command.name());
  expect(withoutJson).toEqual(['serve', 'node-configuration', 'await-removal', 'await-reload', 'completion']);
});
