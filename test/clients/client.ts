export interface Pulled {
  readonly repository: string;
  readonly tag: string;
}

/** A client as its user drives it. Each verb throws what the client said when it fails. */
export interface Client {
  /** @returns the digest that the client says it has then. */
  pull(image: Pulled): Promise<string>;
  /** Removes everything it has pulled. */
  forget(): Promise<void>;
}
