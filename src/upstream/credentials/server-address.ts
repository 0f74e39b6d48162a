/** A registry as credentials know it. */
export interface NamedRegistry {
  /** As clients write it. */
  readonly name: string;
  readonly url: URL;
}

/** Under which address Docker keeps the credentials of a registry; Docker Hub's is the one of its first version (moby, `IndexServer`). */
export function serverAddressOf({ name }: NamedRegistry): string {
  return name === 'docker.io' ? 'https://index.docker.io/v1/' : name;
}
