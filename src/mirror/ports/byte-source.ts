/** Bytes that are read by position, one reader at a time: a stored blob, or one still arriving. */
export interface ByteSource extends AsyncDisposable {
  /**
   * Fills the beginning of `into` from `position` on, waiting until there is something to read. Disposing ends the wait.
   * @returns how many bytes were read; 0 at the end.
   */
  read(into: Uint8Array, position: number): Promise<number>;
  /**
   * Borrows a buffer with the bytes that `read` would copy, if they are in memory already.
   * @returns undefined when the bytes have to be read.
   */
  borrow?(position: number, maxBytes: number): Promise<BorrowedBuffer | undefined>;
}

/** A borrowed buffer. Its bytes may be used until `end` is called, which must happen exactly once. */
export interface BorrowedBuffer {
  readonly pieces: readonly Uint8Array[];
  readonly bytes: number;
  end(): void;
}
