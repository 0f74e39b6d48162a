import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Config } from '../../../src/config/schema.ts';
import { configOf } from '../../support/config.ts';

const page = readFileSync(resolve(import.meta.dirname, '../../../docs/upstreams.md'), 'utf8');

/** The parts of the page that begin with a title of the second order. */
const recipes = page
  .split(/^## /m)
  .slice(1)
  .map((text) => ({ title: text.slice(0, text.indexOf('\n')), text }));

const examplesIn = (text: string): readonly string[] =>
  [...text.matchAll(/```json\n(.*?)```/gs)].map(([, example = '']) => example);

/** With every variable it refers to. */
function loaded(example: string): Promise<Config> {
  const names = [...example.matchAll(/\$\{env:(\w+)\}/g)].map(([, name = '']) => name);
  return configOf(example, { env: Object.fromEntries(names.map((name) => [name, 'value'])) });
}

test.each([
  'Docker Hub',
  'Google Artifact Registry and Container Registry',
  'AWS ECR',
  'AWS ECR Public',
  'GitLab',
  'GitHub Container Registry',
  'Quay',
  'Azure Container Registry',
  'Harbor',
  'Nexus and Artifactory',
  'A private registry (distribution)',
])('%s has a recipe with the least privilege of the account, and notes', (title) => {
  const text = recipes.find((recipe) => recipe.title === title)?.text ?? '';
  expect(examplesIn(text)).toHaveLength(1);
  expect(text).toContain('**Least privilege**: ');
  expect(text).toContain('**Notes**: ');
});

describe.each(recipes)('the recipe for $title', ({ text }) => {
  test('is a valid configuration', async () => {
    for (const example of examplesIn(text)) expect((await loaded(example)).upstreams.length).toBeGreaterThan(0);
  });

  test('contains no secret', async () => {
    for (const example of examplesIn(text)) {
      const { upstreams } = await loaded(example.replace(/\$\{env:\w+\}/g, ''.padEnd(5, 'x')));
      const kept = upstreams.flatMap(({ credentials }) => credentials).filter(({ kind }) => kind !== 'docker-config');
      expect(JSON.stringify(kept)).not.toMatch(/"text":"(?!xxxxx")/);
    }
  });
});

test('every kind of credentials for a single registry has a recipe', async () => {
  const configs = await Promise.all(examplesIn(page).map(loaded));
  const kinds = configs.flatMap(({ upstreams }) => upstreams.flatMap(({ credentials }) => credentials));
  expect(kinds.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['google', 'ecr', 'ecr-public', 'gitlab']));
});
