import { z } from 'zod';
import { credentials } from './credentials.ts';
import { freshnessOverrides } from './freshness.ts';
import { host, hostOrPattern, proxyUrl, redirectHost, registryUrl, repositoryGlob, repositoryPrefix } from './names.ts';
import { count, durationMs, path, text, word } from './values.ts';

const mirror = z
  .strictObject({
    url: registryUrl().describe('The mirror.'),
    tags: z.boolean().describe('Whether it is asked for tags too, not only for digests.').prefault(false),
    forwardNs: z.boolean().describe("Sends the upstream's name as `?ns=`: for another Layerwell.").prefault(false),
    credentials: z.array(credentials).describe('Credentials for this mirror; it is sent no others.').prefault([]),
  })
  .describe('Another registry with the same content.');

const tls = z
  .strictObject({
    caFile: path().describe("Certificates to trust besides the system's, PEM.").optional(),
    certFile: path().describe("The mirror's own certificate, PEM.").optional(),
    keyFile: path().describe('Its private key, PEM.').optional(),
    insecureSkipVerify: z.boolean().describe("Does not check the registry's certificate.").prefault(false),
  })
  .refine(
    ({ certFile, keyFile }) => (certFile === undefined) === (keyFile === undefined),
    'expected certFile and keyFile together',
  )
  .describe('TLS towards the registry and its token realm.');

const timeouts = z
  .strictObject({
    connect: durationMs().describe('Until the connection stands.').prefault('5s'),
    headers: durationMs().describe("Until the answer's headers are there.").prefault('20s'),
    idle: durationMs().describe('Between two pieces of a body. Default: download.idleTimeout.').optional(),
    token: durationMs().describe('Until its token realm has answered.').prefault('15s'),
  })
  .transform(({ connect, headers, idle, token }) => ({
    connectMs: connect,
    headersMs: headers,
    idleMs: idle,
    tokenMs: token,
  }))
  .describe('How long it waits for the registry.');

const proxy = z
  .strictObject({
    http: proxyUrl().describe('For `http:` URLs.').optional(),
    https: proxyUrl().describe('For `https:` URLs.').optional(),
    except: z
      .array(text())
      .describe(
        'Reached without it: names with all below them, addresses, address blocks, each perhaps with a port; `*` is all.',
      )
      .prefault([]),
  })
  .describe(
    'The HTTP proxy on the way to the registry, its token realm and its redirects. Where neither is named, those of `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`; `"except": ["*"]` is none.',
  );

const upstream = z
  .strictObject({
    kind: word(['registry']).describe('`registry`: one that is pulled through.').prefault('registry'),
    url: registryUrl()
      .describe('The registry itself. Default: `https://<name>`, for docker.io `https://registry-1.docker.io`.')
      .optional(),
    aliases: z
      .array(host())
      .describe(
        'Other names clients write for it. docker.io has `index.docker.io` and `registry-1.docker.io` without being told.',
      )
      .prefault([]),
    realmHosts: z
      .array(host())
      .describe('Hosts besides its own that may issue its tokens: credentials go there.')
      .prefault([]),
    redirectHosts: z
      .array(redirectHost())
      .describe(
        'Hosts with private addresses that it may redirect to; public addresses need no entry. `http://host:port` also allows a redirect there from https, without credentials.',
      )
      .prefault([]),
    mirrors: z.array(mirror).describe('Tried before it, in order.').prefault([]),
    credentials: z
      .array(credentials)
      .describe('Who the mirror is there. With any, `visibility` must be stated.')
      .prefault([]),
    visibility: word(['public', 'service'])
      .describe(
        'Who may read what is cached: `public`, only what anyone may read upstream; `service`, all that the credentials can read.',
      )
      .prefault('public'),
    publicRepositories: z
      .array(repositoryGlob())
      .describe('Globs over repositories that are public without asking.')
      .prefault([]),
    allowAnonymous: z
      .boolean()
      .describe('States that anonymous clients may read what `service` lets through.')
      .prefault(false),
    allow: z.array(repositoryGlob()).describe('Globs over repositories that may be pulled.').prefault(['**']),
    deny: z
      .array(repositoryGlob())
      .describe('Globs over repositories that may not, whatever `allow` says.')
      .prefault([]),
    freshness: freshnessOverrides.prefault({}),
    repositoryPrefix: repositoryPrefix().describe("Put before every repository's name upstream.").optional(),
    tls: tls.prefault({}),
    proxy: proxy.prefault({}),
    timeouts: timeouts.prefault({}),
    maxConnections: count()
      .describe(
        'Connections to one host and port at the same time; of them downloads take at most three quarters. As many requests may wait for one; more are answered 503 at once.',
      )
      .prefault(256),
    userAgent: text().describe('Default: `layerwell/<version>`.').optional(),
  })
  .describe(
    'One registry. Its key is the name clients write: `ghcr.io`, or a pattern such as `*.pkg.dev` (`*` is one label, `**` any number).',
  );

export const upstreams = z
  .record(hostOrPattern(), upstream)
  .refine((entries) => Object.keys(entries).length > 0, 'expected at least one upstream')
  .describe('The registries that are pulled through; no other is ever dialled for a client.');

export type UpstreamEntry = z.output<typeof upstream>;
