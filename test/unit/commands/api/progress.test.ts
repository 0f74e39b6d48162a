import { expect, test } from 'vitest';
import { barText, ProgressBar } from '../../../../src/commands/api/progress.ts';

test.each([
  [{ done: 5, total: 10, text: 'half' }, 40, `[${'#'.repeat(13)}${'-'.repeat(13)}]  50 % half`],
  [{ done: 0, total: 10, text: 'x' }, 200, `[${'-'.repeat(30)}]   0 % x`],
  [{ done: 20, total: 10, text: 'x' }, 200, `[${'#'.repeat(30)}] 100 % x`],
  [{ done: 5, total: undefined, text: 'some' }, 40, 'some'],
  [{ done: 0, total: 0, text: 'none' }, 40, 'none'],
  [{ done: 5, total: 10, text: 'a long text' }, 12, 'a long text'],
  [{ done: 5, total: 10, text: 'a long text' }, 6, 'a lon'],
  [{ done: 5, total: 10, text: 'a\u001b[2Jb\nc' }, 12, 'a\uFFFD[2Jb c'],
])('%j on %i columns is %j', (progress, columns, text) => {
  expect(barText(progress, columns)).toBe(text);
  expect(barText(progress, columns).length).toBeLessThan(columns + 1);
});

function barOn(columns: number | undefined) {
  let shown = '';
  const bar = new ProgressBar({
    printError: (text) => (shown += text),
    columns: columns === undefined ? undefined : () => columns,
  });
  return { bar, shown: () => shown };
}

test('without a terminal there are lines only', () => {
  const { bar, shown } = barOn(undefined);
  bar.show({ done: 1, total: 2, text: 'x' });
  bar.line('one');
  bar.end();
  expect(shown()).toBe('one\n');
});

test('on a terminal the bar stays below the lines, is drawn only when it changes, and is gone at the end', () => {
  const { bar, shown } = barOn(20);
  bar.show({ done: 1, total: undefined, text: 'x' });
  bar.show({ done: 1, total: undefined, text: 'x' });
  bar.line('one');
  bar.end();
  bar.end();
  expect(shown()).toBe('\r\u001b[Kx\r\u001b[Kone\nx\r\u001b[K');
});
