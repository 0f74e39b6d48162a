import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { alertGroups } from '../../../scripts/monitoring/alerts.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';
import { describeWithTools, tool } from '../../support/tools.ts';
import { type AlertCase, alertCases, type Series } from './alert-cases.ts';

const rules = resolve('charts/layerwell/rules/layerwell.yaml');
const alerts = alertGroups.flatMap((group) => group.alerts);

/** Runs promtool. @throws with what it printed when it fails. */
async function promtool(...args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(tool('promtool'), args).catch((cause: unknown) => {
    const { stdout: printed = '', stderr: failed = '' } = Object(cause);
    throw new Error(`${printed}${failed}`);
  });
  return stdout + stderr;
}

/** A test of promtool: whether an alert fires with these series. A mirror is there always. */
function testOf(name: string, { at, every = '1m' }: AlertCase, series: Series, isFiring: boolean): object {
  const present = { 'layerwell_build_info{job="there"}': '1x480', ...series };
  return {
    name: `${name} ${isFiring ? 'fires' : 'does not fire'}`,
    interval: every,
    input_series: Object.entries(present).map(([metric, values]) => ({ series: metric, values })),
    promql_expr_test: [
      {
        expr: `count(ALERTS{alertname="${name}", alertstate="firing"}) or vector(0)`,
        eval_time: at,
        exp_samples: [{ labels: '{}', value: isFiring ? 1 : 0 }],
      },
    ],
  };
}

describeWithTools(['promtool'], 'the rules for Prometheus', () => {
  test('are valid', async () => {
    expect(await promtool('check', 'rules', rules)).toContain(`${alerts.length + 13} rules found`);
  });

  test('make every alert fire when it should, and not otherwise', async () => {
    expect(Object.keys(alertCases).toSorted()).toEqual(alerts.map(({ name }) => name).toSorted());
    const directory = await temporaryDirectory();
    const byInterval = Map.groupBy(Object.entries(alertCases), ([, { every = '1m' }]) => every);
    for (const [every, cases] of byInterval) {
      const tests = cases.flatMap(([name, of]) => [
        ...[of.firing].flat().map((series) => testOf(name, of, series, true)),
        ...[of.quiet].flat().map((series) => testOf(name, of, series, false)),
      ]);
      const file = join(directory, `${every}.yaml`);
      await writeFile(file, stringify({ rule_files: [rules], evaluation_interval: every, tests }));
      expect(await promtool('test', 'rules', file)).toContain('SUCCESS');
    }
  });
});

test.each(alerts)('$name has a runbook: what it means, how to see it, what to do', ({ name }) => {
  const page = join('docs/runbooks', `${name}.md`);
  expect(existsSync(page)).toBe(true);
  const headings = [...readFileSync(page, 'utf8').matchAll(/^#+ .*$/gm)].map(([line]) => line);
  expect(headings).toEqual([`# ${name}`, '## What it means', '## How to see it', '## What to do']);
});

test('every runbook belongs to an alert', async () => {
  const pages = (await readdir('docs/runbooks')).filter((name) => name !== 'README.md');
  expect(pages.toSorted()).toEqual(alerts.map(({ name }) => `${name}.md`).toSorted());
});
