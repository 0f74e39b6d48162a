/** A registry as credentials know it. */
export interface NamedRegistry {
  /** As clients write it. */
  readonly name: string;
  readonly url: URL;
}

/**
 * Under which address Docker and its helpers keep the credentials of a registry: that of the host which is asked, whatever clients call
 * it, so that no mirror and no stand-in is shown the account of another registry. Docker Hub's is the one of its first version (moby,
 * `IndexServer`).
 */
export function serverAddressOf({ url }: NamedRegistry): string {
  return url.host === 'registry-1.docker.io' ? 'https://index.docker.io/v1/' : url.host;
}
