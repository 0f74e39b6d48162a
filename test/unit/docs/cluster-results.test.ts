import { globSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { mergedResults } from '../../cluster/report.ts';

const page = readFileSync('docs/kubernetes.md', 'utf8');

test('the table of dry runs has a row for every file of values that the chart accepts', () => {
  const rows = [...page.matchAll(/^\| `(\S+\.yaml)` \|/gm)].map(([, file = '']) => file);
  const files = ['charts/layerwell/ci/*-values.yaml', 'test/clients/chart/accepted/*.yaml'];
  expect(new Set(rows)).toEqual(new Set(files.flatMap((pattern) => globSync(pattern))));
});

test('a run of the cluster test replaces the rows of what it ran, and keeps the others', () => {
  const head = '| Scenario | Pulls | Notes |\n|---|---|---|';
  const former = `Kubernetes v1.\n\n### one\n\n${head}\n| Install | 1 | old |\n| Upgrade | 2 | old |\n\n### two\n\n${head}\n| Install | 3 | old |`;
  const now = `Kubernetes v2.\n\n### one\n\n${head}\n| Upgrade | 4 | new |\n| Drain | 5 | new |\n\n### three\n\n${head}\n| Install | 6 | new |`;
  expect(mergedResults(`\n\n${former}\n\n`, now)).toBe(
    `Kubernetes v2.\n\n### one\n\n${head}\n| Install | 1 | old |\n| Upgrade | 4 | new |\n| Drain | 5 | new |\n\n### two\n\n${head}\n| Install | 3 | old |\n\n### three\n\n${head}\n| Install | 6 | new |`,
  );
  expect(mergedResults('', now)).toBe(now);
});

test('the results in the page stay as they are when nothing was run', () => {
  const [, results = ''] = /<!-- results -->\n\n([^]*?)\n\n<!-- end of results -->/.exec(page) ?? [];
  expect(mergedResults(results, '')).toBe(results);
});
