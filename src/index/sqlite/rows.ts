import { type Digest, hexOf } from '../../oci/digest.ts';

/** One row of a query's result. */
export type Row = Readonly<Record<string, unknown>>;

/** A row that is not what the schema says. */
export class DamagedRowError extends Error {
  override readonly name = 'DamagedRowError';
}

/** @throws DamagedRowError when the column is no text: then the index is not what its schema says. */
export function textIn(row: Row, column: string): string {
  const value = row[column];
  if (typeof value === 'string') return value;
  throw new DamagedRowError(`the index holds no text in ${column}`);
}

/** @throws DamagedRowError when the column is no whole number. */
export function numberIn(row: Row, column: string): number {
  const value = row[column];
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  throw new DamagedRowError(`the index holds no whole number in ${column}`);
}

/** As `names` stores it. */
export function digestBytes(digest: Digest): Uint8Array {
  return Buffer.from(hexOf(digest), 'hex');
}
