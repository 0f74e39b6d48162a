/** Whoever waits may stop waiting. */
export interface Waiting {
  readonly signal: AbortSignal;
}
