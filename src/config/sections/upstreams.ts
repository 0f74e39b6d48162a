import { z } from 'zod';
import { credentials } from './credentials.ts';
import { freshnessOverrides } from './freshness.ts';
import { host, hostOrPattern, proxyUrl, redirectHost, registryUrl, repositoryGlob, repositoryPrefix } from './names.ts';
import { count, durationMs, path, text, word } from './values.ts';

const mirror = z
  .strictObject({
    url: registryUrl().describe('The URL of the mirror.'),
    tags: z.boolean().describe('Whether to ask it for tags too, not only for digests.').prefault(false),
    forwardNs: z
      .boolean()
      .describe("Sends the upstream's name as `?ns=`, as another Layerwell expects.")
      .prefault(false),
    sendTraceContext: z.boolean().describe('As `upstreams.<name>.sendTraceContext`, for this mirror.').prefault(false),
    credentials: z.array(credentials).describe('Credentials for this mirror; no others are sent to it.').prefault([]),
  })
  .describe('A registry with the same content.');

const tls = z
  .strictObject({
    caFile: path().describe("CA certificates to trust in addition to the system's (PEM).").optional(),
    certFile: path().describe('Client certificate to present (PEM).').optional(),
    keyFile: path().describe('Its private key (PEM).').optional(),
    insecureSkipVerify: z
      .boolean()
      .describe('Skips certificate verification for the configured hosts.')
      .prefault(false),
  })
  .refine(
    ({ certFile, keyFile }) => (certFile === undefined) === (keyFile === undefined),
    'expected certFile and keyFile together',
  )
  .describe('TLS for connections to the registry and its token realm.');

const timeouts = z
  .strictObject({
    connect: durationMs().describe('To establish the connection.').prefault('5s'),
    headers: durationMs().describe('To receive the response headers.').prefault('20s'),
    idle: durationMs().describe('Between two chunks of a body. Default: `download.idleTimeout`.').optional(),
    token: durationMs().describe('To get a token from its token realm.').prefault('15s'),
  })
  .transform(({ connect, headers, idle, token }) => ({
    connectMs: connect,
    headersMs: headers,
    idleMs: idle,
    tokenMs: token,
  }))
  .describe('How long to wait for the registry.');

const proxy = z
  .strictObject({
    http: proxyUrl().describe('The proxy for `http:` URLs.').optional(),
    https: proxyUrl().describe('The proxy for `https:` URLs.').optional(),
    except: z
      .array(text())
      .describe(
        'Hosts to reach directly: domains with their subdomains, addresses or CIDR blocks, each with an optional port; `*` is all.',
      )
      .prefault([]),
  })
  .describe(
    'The HTTP proxy for the registry, its token realm and its redirects. Default: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of the environment; `"except": ["*"]` uses no proxy.',
  );

const upstream = z
  .strictObject({
    kind: word(['registry']).describe('`registry`: a registry to pull through.').prefault('registry'),
    url: registryUrl()
      .describe('The URL of the registry. Default: `https://<name>`; for docker.io `https://registry-1.docker.io`.')
      .optional(),
    aliases: z
      .array(host())
      .describe(
        'Other names that clients use for it. docker.io has `index.docker.io` and `registry-1.docker.io` by default.',
      )
      .prefault([]),
    realmHosts: z
      .array(host())
      .describe('Additional hosts that may issue its tokens. Credentials are sent to them.')
      .prefault([]),
    redirectHosts: z
      .array(redirectHost())
      .describe(
        'Hosts with private addresses that it may redirect to; public addresses need no entry. `http://host:port` also allows a redirect from https to http, without credentials.',
      )
      .prefault([]),
    mirrors: z.array(mirror).describe('Mirrors to try before the registry, in order.').prefault([]),
    credentials: z
      .array(credentials)
      .describe('Credentials for the registry. If there are any, `visibility` must be set.')
      .prefault([]),
    visibility: word(['public', 'service'])
      .describe(
        'What clients may read. `public`: only what anyone may read upstream. `service`: everything the credentials can read.',
      )
      .prefault('public'),
    publicRepositories: z
      .array(repositoryGlob())
      .describe('Globs over repositories that are treated as public without asking the registry.')
      .prefault([]),
    allowAnonymous: z
      .boolean()
      .describe('Confirms that anonymous clients may read everything `service` allows.')
      .prefault(false),
    allow: z.array(repositoryGlob()).describe('Globs over repositories that may be pulled.').prefault(['**']),
    deny: z
      .array(repositoryGlob())
      .describe('Globs over repositories that may not be pulled, whatever `allow` says.')
      .prefault([]),
    freshness: freshnessOverrides.prefault({}),
    repositoryPrefix: repositoryPrefix().describe('A prefix for every repository name upstream.').optional(),
    tls: tls.prefault({}),
    proxy: proxy.prefault({}),
    timeouts: timeouts.prefault({}),
    maxConnections: count()
      .describe(
        'Concurrent connections to one host and port; downloads use at most three quarters. As many requests may wait for a connection; any beyond that get 503 at once.',
      )
      .prefault(256),
    sendTraceContext: z
      .boolean()
      .describe(
        'Sends the trace context (`traceparent`) to the registry, if requests are traced. Token realms and hosts after a redirect never get it.',
      )
      .prefault(false),
    userAgent: text().describe('The `User-Agent` header. Default: `layerwell/<version>`.').optional(),
  })
  .describe(
    'A registry. Its key is the name that clients use, such as `ghcr.io`, or a pattern such as `*.pkg.dev` (`*` is one label, `**` any number).',
  );

export const upstreams = z
  .record(hostOrPattern(), upstream)
  .refine((entries) => Object.keys(entries).length > 0, 'expected at least one upstream')
  .describe('The registries to pull through. The mirror never connects to any other registry for a client.');

export type UpstreamEntry = z.output<typeof upstream>;
