import { expect, test } from 'vitest';
import { html, name } from '../../../../../src/http/management/pages/html.ts';
import { bytesText, percentText, timeSince } from '../../../../../src/http/management/pages/drawing/words.ts';
import { areaPlot } from '../../../../../src/http/management/pages/drawing/plots.ts';

test('what a name contains stays text, in content and in attributes', () => {
  const evil = `<script>alert(1)</script> "quoted" 'single' & more`;
  const made = html`<p title="${evil}">${evil}</p>`.text;
  expect(made).not.toMatch(/<script|<\/script/);
  expect(made).toBe(
    '<p title="&lt;script&gt;alert(1)&lt;/script&gt; &quot;quoted&quot; &#39;single&#39; &amp; more">' +
      '&lt;script&gt;alert(1)&lt;/script&gt; &quot;quoted&quot; &#39;single&#39; &amp; more</p>',
  );
});

test('what was escaped once is not escaped again, and nothing is left of what is absent', () => {
  const parts = [html`<b>${'<'}</b>`, undefined, false, 7, ['&', html`<i></i>`]] as const;
  expect(html`${parts}`.text).toBe('<b>&lt;</b>7&amp;<i></i>');
});

test('signs that turn the direction of a text are shown as what they are not, and a name keeps its own direction', () => {
  expect(name('a\u202Etxt.exe\u2066\u0000\u001b[31m').text).toBe('<bdi>a\uFFFDtxt.exe\uFFFD\uFFFD\uFFFD[31m</bdi>');
  expect(name('שלום\n').text).toBe('<bdi>שלום\n</bdi>');
});

test('numbers are written with three digits, and almost all is not all', () => {
  const sizes = [null, 0, 1, 1023, 1024, 1536, 1024 ** 2 * 12.34, 1024 ** 4 * 2048, 1024 ** 6].map(bytesText);
  const sized = ['unknown', '0 B', '1 B', '1023 B', '1.00 KiB', '1.50 KiB', '12.3 MiB', '2.00 PiB', '1024 PiB'];
  expect(sizes).toEqual(sized);
  expect([0, 0.0001, 0.5, 0.9999, 1].map(percentText)).toEqual(['0 %', '< 0.1 %', '50.0 %', '> 99.9 %', '100 %']);
});

test('a time is told from now, with the exact one beside it', () => {
  const at = '2026-01-01T00:00:00.000Z';
  const since = (ms: number) => />(.*)</.exec(timeSince(at, Date.parse(at) + ms).text)?.[1];
  expect([0, 61_000, 7_200_000, -3_600_000].map(since)).toEqual([
    'just now',
    '1 minute ago',
    '2 hours ago',
    'in 1 hour',
  ]);
});

test.each([[], [0], [5], [0, 0], [1, 2, 3]])('a plot of any values is drawn: %j', (...values) => {
  const { text } = areaPlot({ description: 'traffic', series: [{ look: 'first', values }] });
  expect(text).not.toMatch(/NaN|Infinity|undefined/);
  expect(text).toContain('role="img" aria-label="traffic"');
});
