import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../../..');
const [, section = ''] = readFileSync(join(root, 'docs/upstreams.md'), 'utf8').split('## What is tolerated\n');
const lines = section.split('\n').filter((line) => line.startsWith('| ') && !/^\| (?:Deviation|---)/.test(line));

/** The file and the title of the test in the last column; what stands in a table of a test counts as its title. */
const shownBy = lines.map(
  (line) => /^\| .+ \| .+ \| .+ \| `(test\/[\w./-]+)`: (.+) \|$/.exec(line)?.slice(1) ?? [line, ''],
);

test('every tolerated deviation names the registries that have it, and a test', () => {
  expect(shownBy.length).toBeGreaterThan(40);
  expect(shownBy.filter(([, title]) => !title)).toEqual([]);
  const known = ['Docker Hub', 'GHCR', 'Quay', 'GitLab', 'Harbor', 'Nexus', 'Artifactory', 'ACR', 'ECR', 'Gitea'];
  expect(known.filter((registry) => !section.includes(registry))).toEqual([]);
});

test.each(shownBy)('%s has a test of the deviation: %s', (file, title) => {
  expect(existsSync(join(root, file))).toBe(true);
  const quoted = ["'", '"', '`'].map((quote) => `${quote}${title}${quote}`);
  const source = readFileSync(join(root, file), 'utf8');
  expect(quoted.some((one) => source.includes(one))).toBe(true);
});
