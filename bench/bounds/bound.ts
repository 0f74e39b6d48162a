/** A bound that Layerwell must keep, and the measured value. */
export interface Bound {
  /** A description, with the unit. */
  readonly what: string;
  readonly measured: number;
  readonly limit: number;
}
