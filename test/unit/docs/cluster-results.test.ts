import { globSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { definitionsIn } from '../../cluster/objects.ts';
import { mergedResults } from '../../cluster/report.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';

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

test('the cluster test takes the definitions in the folder of CLUSTER_CRDS, and refuses a folder without any', async () => {
  const folder = await temporaryDirectory();
  expect(() => definitionsIn(folder)).toThrow(`CLUSTER_CRDS: no CustomResourceDefinition in ${folder}/*.yaml`);
  const definition = (name: string) => `apiVersion: v1\nkind: CustomResourceDefinition\nmetadata: { name: ${name} }\n`;
  await writeFile(join(folder, 'a.yaml'), `---\n${definition('one')}---\n${definition('two')}---\n`);
  await writeFile(join(folder, 'b.yaml'), 'kind: ConfigMap\nmetadata: { name: other }\n');
  expect(definitionsIn(folder).map(({ metadata }) => metadata.name)).toEqual(['one', 'two']);
  expect(definitionsIn(undefined)).toEqual([]);
});
