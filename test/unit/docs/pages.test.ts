import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { routes } from '../../../src/http/management/api/routes.ts';

const root = resolve(import.meta.dirname, '../../..');
const read = (page: string) => readFileSync(join(root, page), 'utf8');
const pages = globSync(['*.md', 'docs/**/*.md', 'charts/*/*.md'], { cwd: root });

describe.each(pages)('%s', (page) => {
  test('has no broken links', () => {
    const targets = [...read(page).matchAll(/\]\(([^)#:]+)\)/g)].map(([, target]) => target ?? '');
    expect(targets.filter((target) => !existsSync(join(root, dirname(page), target)))).toEqual([]);
  });

  test('names no address of a registry of packages or charts', () => {
    expect(read(page)).not.toMatch(/--repo[ =]+https?:|helm repo add \S+ https?:/);
  });

  test('names files that exist', () => {
    const named = [...read(page).matchAll(/`((?:src|test|scripts|charts|docs)\/[\w./-]+)`/g)].map(
      ([, path]) => path ?? '',
    );
    expect(named.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });
});

test.each(pages.filter((page) => page !== 'CHANGELOG.md'))('%s names metrics that exist, with their labels', (page) => {
  const rows = read('docs/metrics.md').matchAll(/^\| `(\w+)` \| \w+ \| (.*?) \|/gm);
  const labelsOf = new Map([...rows].map(([, name = '', labels = '']) => [name, labels.split(/\W+/)]));
  const used = [...read(page).matchAll(/\b(layerwell_\w+?)(?:_bucket|_count|_sum)?\b(?:\{([^}]*)\})?/g)];
  const unknown = used.filter(([, name = '', selector = '']) => {
    const selected = [...selector.matchAll(/(\w+)(?:=|!=|=~|!~)"/g)].map(([, label = '']) => label);
    return !selected.every((label) => label === 'le' || labelsOf.get(name)?.includes(label)) || !labelsOf.has(name);
  });
  expect(unknown.map(([text]) => text)).toEqual([]);
});

test('the map of the code in ARCHITECTURE.md names folders and files that exist', () => {
  const named = pathsInMap(read('ARCHITECTURE.md'));
  expect(named.length).toBeGreaterThan(60);
  expect(named).toContain('http/management/api/routes.ts');
  expect(named.filter((path) => !existsSync(join(root, 'src', path)))).toEqual([]);
});

test('the map of the code in ARCHITECTURE.md has every room of src/', () => {
  const named = new Set(pathsInMap(read('ARCHITECTURE.md')));
  const folders = globSync('src/*/*/', { cwd: root }).map((path) => `${path.slice('src/'.length).replace(/\/$/, '')}/`);
  expect(folders.length).toBeGreaterThan(40);
  expect(folders.filter((path) => !named.has(path))).toEqual([]);
});

test('docs/management.md names every path of the management API with its methods', () => {
  const page = read('docs/management.md');
  const known = routes.map(({ method, path }) => `${method.toUpperCase()} ${path}`);
  expect(known.filter((one) => !new RegExp(`\`${RegExp.escape(one)}(?:\\?[^\`]*)?\``).test(page))).toEqual([]);
});

/** The entries of a drawn tree, and what their lines name, which is in the folder of the entry. */
function pathsInMap(page: string): readonly string[] {
  const folders: string[] = [];
  return [...page.matchAll(/^((?:[│ ] {3})*)(?:[├└]── (\S+)|│? +)(.*)$/gm)].flatMap(
    ([, bars = '', entry, text = '']) => {
      if (entry !== undefined) folders.splice(bars.length / 4, Infinity, entry);
      const folder = join(...(folders.length > 0 ? folders : ['.']));
      const inside = [...text.matchAll(/[\w-]+(?:\.ts|\/)(?=[\s,;)]|$)/gm)].map(([name]) => join(folder, name));
      return [...(entry === undefined ? [] : [folder]), ...(folders.at(-1)?.endsWith('/') ? inside : [])];
    },
  );
}

test('the README installs and tests with the same command as the continuous integration', () => {
  expect(read('README.md')).toContain('```sh\nnpm ci && npm test\n```');
  expect(read('.ci/run')).toContain('(npm ci && npm test)');
});

test('the README gives one command that installs and starts', () => {
  expect(read('README.md')).toContain('```sh\nnpm ci && npm start\n```');
});
