import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { valuesReference } from '../../../scripts/chart-readme.ts';

const chart = resolve(import.meta.dirname, '../../../charts/layerwell');

test('the table of values follows the convention of helm-docs', () => {
  const table = valuesReference(`
# -- The first.
a: 1
# Not a description.
b:
  # -- Below b,
  # on two lines.
  c: [x]
  d: null
# -- All of e | and more.
# @default -- see there
e:
  f: true
  # -- But g is a row of its own.
  g: ""
`);
  expect(table.split('\n').slice(2, -1)).toEqual([
    '| `a` | int | `1` | The first. |',
    '| `b.c` | list | `["x"]` | Below b, on two lines. |',
    '| `b.d` |  | `null` |  |',
    '| `e` | object | see there | All of e \\| and more. |',
    '| `e.g` | string | `""` | But g is a row of its own. |',
  ]);
});

test('the icon in Chart.yaml is icon.svg', () => {
  const [, icon = ''] =
    /^icon: data:image\/svg\+xml;base64,(.*)$/m.exec(readFileSync(join(chart, 'Chart.yaml'), 'utf8')) ?? [];
  expect(Buffer.from(icon, 'base64').toString()).toBe(readFileSync(join(chart, 'icon.svg'), 'utf8'));
});
