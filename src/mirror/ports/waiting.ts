/** What every wait takes: a signal that ends it. */
export interface Waiting {
  readonly signal: AbortSignal;
}
