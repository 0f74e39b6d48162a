import { expect, test } from 'vitest';
import { pageWith } from '../../../chaos/report.ts';

test('a run with replicas leaves the result of the other kind of run in the page, and the other way round', () => {
  const first = pageWith('', 'The last run', 'one mirror');
  const both = pageWith(first, 'The last run with replicas', 'three replicas\n\n| a | table |');
  expect(
    both.endsWith(
      '## The last run\n\none mirror\n\n## The last run with replicas\n\nthree replicas\n\n| a | table |\n',
    ),
  ).toBe(true);
  const again = pageWith(both, 'The last run', 'another mirror');
  expect(again).toBe(both.replace('one mirror', 'another mirror'));
});
