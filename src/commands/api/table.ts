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

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Bytes with three digits: `1.50 GiB`; null is unknown. Pure. */
export function bytesText(bytes: number | null): string {
  if (bytes === null) return 'unknown';
  const place = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** place;
  const digits = place === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[place]}`;
}

/** A number with separators: `12,345`; null is unknown. Pure. */
export function countText(count: number | null): string {
  return count === null ? 'unknown' : count.toLocaleString('en-US');
}

/** A share of a whole: `87.5 %`; `-` of nothing. Pure. */
export function shareText(part: number | null, whole: number): string {
  return part === null || whole === 0 ? '-' : `${((100 * part) / whole).toFixed(1)} %`;
}
