import { withoutBrackets } from '../../oci/reference.ts';

/** The address of a server. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Reads a secret, or a file; each time a connection is made, because it may have changed. @throws when it cannot be read. */
export type ReadText = () => Promise<string>;

/** Where Redis is, and who we are there. */
export interface RedisSettings {
  readonly place: /** `redis://` or `rediss://`, with user, password and database if it has them. */
    | { readonly kind: 'single'; readonly readUrl: ReadText }
    | {
        readonly kind: 'sentinel';
        readonly sentinels: readonly HostPort[];
        readonly name: string;
        readonly sentinelUsername?: string | undefined;
        readonly readSentinelPassword?: ReadText | undefined;
      }
    | { readonly kind: 'cluster'; readonly nodes: readonly HostPort[] };
  /** Instead of those in the URL. */
  readonly username?: string | undefined;
  readonly readPassword?: ReadText | undefined;
  readonly database?: number | undefined;
  /** TLS. For one server, its URL says so too. */
  readonly tls?: { readonly readCa?: ReadText | undefined } | undefined;
}

/** What a URL of Redis says. */
export interface ParsedUrl extends HostPort {
  readonly isTls: boolean;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly database: number | undefined;
}

/** @throws Error that does not quote the URL, which may hold a password. */
export function parseRedisUrl(text: string): ParsedUrl {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const database = /^\/(\d{1,5})$/.exec(url?.pathname ?? '')?.[1];
  const hasPath = url !== undefined && !/^\/?$/.test(url.pathname) && database === undefined;
  if (url === undefined || !/^rediss?:$/.test(url.protocol) || url.hostname === '' || hasPath) {
    throw new Error('expected a URL such as redis://host:6379/0');
  }
  return {
    host: withoutBrackets(url.hostname),
    port: url.port === '' ? 6379 : Number(url.port),
    isTls: url.protocol === 'rediss:',
    username: url.username === '' ? undefined : decodeURIComponent(url.username),
    password: url.password === '' ? undefined : decodeURIComponent(url.password),
    database: database === undefined ? undefined : Number(database),
  };
}
