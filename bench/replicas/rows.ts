/** One measured value, and the target for it where there is one. */
export interface Row {
  /** A description, with the unit. */
  readonly what: string;
  readonly measured: number;
  readonly atMost?: number;
  readonly atLeast?: number;
}

export function medianOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** The rows as a Markdown table. */
export function rowsTable(rows: readonly Row[]): string {
  const lines = rows.map((row) => `| ${row.what} | ${Number(row.measured.toPrecision(3))} | ${targetOf(row)} |`);
  return ['| | measured | target |', '| --- | ---: | --- |', ...lines].join('\n');
}

function targetOf({ measured, atMost, atLeast }: Row): string {
  if (atMost !== undefined) return `≤ ${atMost}${measured <= atMost ? '' : ' **missed**'}`;
  return atLeast === undefined ? '' : `≥ ${atLeast}${measured >= atLeast ? '' : ' **missed**'}`;
}
