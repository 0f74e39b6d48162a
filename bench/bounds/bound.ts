/** A bound that Layerwell keeps, and what was measured of it. */
export interface Bound {
  /** In words, with its unit. */
  readonly what: string;
  readonly measured: number;
  readonly limit: number;
}
