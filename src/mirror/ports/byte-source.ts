/** Bytes that are read by position, one reader at a time: a stored blob, or one still arriving. */
export interface ByteSource extends AsyncDisposable {
  /**
   * Fills the beginning of `into` from `position` on, waiting until there is something to read. Disposing ends the wait.
   * @returns how many bytes were read; 0 at the end.
   */
  read(into: Uint8Array, position: number): Promise<number>;
  /**
   * What `read` would read, where it lies in memory already: nothing is copied.
   * @returns undefined when it has to be read.
   */
  lend?(position: number, maxBytes: number): Promise<Loan | undefined>;
}

/** Bytes that may be looked at until the loan ends. It must end, once and for all, when nobody will look at them any more. */
export interface Loan {
  readonly pieces: readonly Uint8Array[];
  readonly bytes: number;
  end(): void;
}
