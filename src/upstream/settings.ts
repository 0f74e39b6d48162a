/** The configuration of one upstream as loaded values: no file names, units or `${env:}` are left. */
export interface UpstreamSettings {
  /** The registry itself. Absent: `https://` and the name clients use. */
  readonly url?: string | undefined;
  /** The hosts that its key stands for: one, those that match the pattern, or any. */
  readonly hosts: 'one' | 'pattern' | 'any';
  /** Other names that mean this upstream. */
  readonly aliases: readonly string[];
  /** `host` or `host:port` that may be asked for tokens, beyond the registry's own host and registrable domain. */
  readonly realmHosts: readonly string[];
  /**
   * `host` or `host:port` that redirects may lead to though the address is private; behind a proxy, the only ones. `*` is one label.
   * `http://host:port` also allows a redirect there from https.
   */
  readonly redirectHosts: readonly string[];
  /** The mirror's accounts. Of those whose globs match a repository, the first that is not at its rate limit is used. */
  readonly credentials: readonly CredentialSettings[];
  /** Tried in this order before the registry. */
  readonly mirrors?: readonly MirrorSettings[] | undefined;
  /** Put before every repository's name, such as `docker-hub` where the upstream is another registry's remote repository. */
  readonly repositoryPrefix?: string | undefined;
  /** Whether the registry gets the trace context of requests. */
  readonly sendTraceContext: boolean;
  readonly timeouts: UpstreamTimeouts;
  readonly tls: UpstreamTls;
  readonly proxy: UpstreamProxy;
  /** Connections to one host and port. As many requests may wait. */
  readonly maxConnections: number;
  /** Docker Hub answers 403 without one. */
  readonly userAgent: string;
}

/** Reads the current secret: it may have been rotated. */
export type ReadSecret = () => Promise<string>;

/** One account, and globs of the repositories it is for. */
export type CredentialSettings = AccountSettings & { readonly repositories: readonly string[] };

/** Each kind is documented in `credentials/kinds/`. */
export type AccountSettings =
  | { readonly kind: 'basic'; readonly username: string; readonly readPassword: ReadSecret }
  | { readonly kind: 'bearer-token'; readonly readToken: ReadSecret }
  | { readonly kind: 'docker-config'; readonly configFile: string }
  | {
      readonly kind: 'exec';
      readonly command: string;
      readonly args: readonly string[];
      readonly lifetimeMs: number;
      readonly timeoutMs: number;
    }
  | { readonly kind: 'google'; readonly readKey?: ReadSecret | undefined }
  | { readonly kind: 'ecr'; readonly region?: string | undefined }
  | { readonly kind: 'ecr-public' }
  | { readonly kind: 'gitlab'; readonly username: string; readonly readToken: ReadSecret };

/** The settings of one kind. */
export type SettingsOf<Kind extends AccountSettings['kind']> = Omit<Extract<AccountSettings, { kind: Kind }>, 'kind'>;

/** Another registry with the same content, tried before the registry itself. */
export interface MirrorSettings {
  readonly url: string;
  /** Whether it is also asked for what can change: tags and referrers. */
  readonly tags: boolean;
  /** Whether it gets the name of the registry as `?ns=`: for another Layerwell. */
  readonly forwardNs: boolean;
  readonly sendTraceContext?: boolean | undefined;
  /** Only these are sent to it. */
  readonly credentials: readonly CredentialSettings[];
}

export interface UpstreamTimeouts {
  readonly connectMs: number;
  /** From the request to the headers of its answer. */
  readonly headersMs: number;
  /** Between two chunks of a body, while the mirror is ready to read. */
  readonly idleMs: number;
  readonly tokenMs: number;
}

/** PEM, as read from its files. */
export interface UpstreamTls {
  /** Trusted in addition to the system's CAs, also for token endpoints and redirects. */
  readonly ca?: string | undefined;
  /** Sent to the registry, its mirrors and `realmHosts` only. */
  readonly certificate?: string | undefined;
  readonly key?: string | undefined;
  /** For the registry, its mirrors, `realmHosts` and `redirectHosts` only. */
  readonly insecureSkipVerify: boolean;
}

export interface UpstreamProxy {
  /** For `http:` URLs. */
  readonly http?: string | undefined;
  /** For `https:` URLs. */
  readonly https?: string | undefined;
  /** Hosts that are reached without it: names with their subdomains, addresses or address blocks, with or without a port; `*` is all. */
  readonly except: readonly string[];
}

export const defaultUpstreamSettings: UpstreamSettings = {
  hosts: 'one',
  aliases: [],
  realmHosts: [],
  redirectHosts: [],
  credentials: [],
  sendTraceContext: false,
  timeouts: { connectMs: 5_000, headersMs: 20_000, idleMs: 30_000, tokenMs: 15_000 },
  tls: { insecureSkipVerify: false },
  proxy: { except: [] },
  maxConnections: 256,
  userAgent: 'layerwell',
};
