import { percentText } from '../../http/management/pages/drawing/words.ts';
import { printable } from './client.ts';

/** Rows as lines whose columns are aligned. The first row may be titles. Pure. */
export function alignedLines(rows: readonly (readonly string[])[]): string {
  const clean = rows.map((cells) => cells.map((cell) => printable(cell).replaceAll('\n', ' ')));
  const columns = Math.max(0, ...clean.map((cells) => cells.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...clean.map((cells) => cells[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) => cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ');
  return clean.map((cells) => `${line(cells).trimEnd()}\n`).join('');
}

/** A share of a whole: `87.5 %`; `-` of nothing. Pure. */
export function shareText(part: number | null, whole: number): string {
  return part === null || whole === 0 ? '-' : percentText(part / whole);
}
