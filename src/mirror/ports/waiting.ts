/** The option of every call that waits: the signal ends the wait. */
export interface Waiting {
  readonly signal: AbortSignal;
}
