/** What of an upstream's entry says who the mirror is. */
export interface IdentityKeys {
  readonly credentials: readonly unknown[];
  readonly mirrors: readonly { readonly credentials: readonly unknown[] }[];
  readonly tls: { readonly certFile?: string | undefined };
}

/** Whether the mirror is anybody in particular to the registry, or to one of its mirrors: then it may see what others may not. */
export function hasIdentity({ credentials, mirrors, tls }: IdentityKeys): boolean {
  return (
    credentials.length > 0 || tls.certFile !== undefined || mirrors.some((mirror) => mirror.credentials.length > 0)
  );
}
