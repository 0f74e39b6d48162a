/** The key under which Docker Hub is configured: the name that clients write. */
export const hubName = 'docker.io';
const hubAliases = ['index.docker.io', 'registry-1.docker.io'];
const hubRealm = 'auth.docker.io';

type NamedEntries = Readonly<Record<string, { readonly aliases: readonly string[] }>>;

/** The other names of an upstream. Docker Hub also has the names that clients know it by, unless another entry uses them. */
export function aliasesOf(name: string, upstreams: NamedEntries): readonly string[] {
  const aliases = upstreams[name]?.aliases ?? [];
  if (name !== hubName) return aliases;
  const taken = new Set(Object.entries(upstreams).flatMap(([key, entry]) => [key, ...entry.aliases]));
  return [...aliases, ...hubAliases.filter((alias) => !taken.has(alias))];
}

/** The hosts besides its own that may get its credentials. Docker Hub's token realm is included while its `url` is the default. */
export function realmHostsOf(
  name: string,
  { url, realmHosts }: { readonly url?: string | undefined; readonly realmHosts: readonly string[] },
): readonly string[] {
  return name === hubName && url === undefined ? [...new Set([...realmHosts, hubRealm])] : realmHosts;
}
