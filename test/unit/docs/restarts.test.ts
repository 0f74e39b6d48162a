import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { fixedSections } from '../../../src/app/mirror-rules.ts';

const last = `\`${fixedSections.at(-1)}\``;
const sections = `${fixedSections
  .slice(0, -1)
  .map((section) => `\`${section}\``)
  .join(', ')} and ${last}`;

test.each(['docs/configuration.md', 'docs/kubernetes.md'])('%s names the sections that need a restart', (page) => {
  expect(readFileSync(page, 'utf8').replaceAll(/\s+/g, ' ')).toContain(sections);
});
