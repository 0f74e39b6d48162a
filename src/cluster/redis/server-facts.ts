/** What INFO says of a server that matters here. */
export interface ServerFacts {
  readonly isLoading: boolean;
  readonly role: string | undefined;
  /** What it does when its memory is full, such as `noeviction`. */
  readonly evictionPolicy: string | undefined;
}

export function serverFacts(info: string): ServerFacts {
  const fields = new Map(info.split(/\r?\n/).map((line) => fieldIn(line)));
  return {
    isLoading: fields.get('loading') === '1',
    role: fields.get('role'),
    evictionPolicy: fields.get('maxmemory_policy'),
  };
}

function fieldIn(line: string): readonly [string, string] {
  const at = line.indexOf(':');
  return [line.slice(0, at), line.slice(at + 1)];
}

/** The policy that evicts keys without an expiry, if one of the servers has one: then Redis drops what it should keep. */
export function harmfulPolicy(servers: readonly ServerFacts[]): string | undefined {
  return servers.map(({ evictionPolicy }) => evictionPolicy).find((policy) => policy?.startsWith('allkeys-') === true);
}

/** How long to wait before the next try to connect. */
export interface Backoff {
  /** After the connection was lost or could not be made. */
  readonly firstMs: number;
  /** After Redis hung, or turned out to be a replica: it answers a handshake and still does no work. */
  readonly hungMs: number;
  readonly mostMs: number;
}

/** Doubles with each failure, with a random fifth more or less, so that replicas do not come back at the same moment. */
export function pauseMs(
  { firstMs, hungMs, mostMs }: Backoff,
  { failures, isHung, random }: { readonly failures: number; readonly isHung: boolean; readonly random: number },
): number {
  const doubled = (isHung ? hungMs : firstMs) * 2 ** Math.min(failures - 1, 16);
  return Math.min(doubled, mostMs) * (0.8 + 0.4 * random);
}
