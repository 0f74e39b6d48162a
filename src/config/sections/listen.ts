import { z } from 'zod';
import { host, listenAddress } from './names.ts';
import { durationMs, path, port, word } from './values.ts';

const tls = z
  .strictObject({
    certFile: path().describe('The certificate chain (PEM); re-read when it changes.'),
    keyFile: path().describe('Its private key (PEM).'),
  })
  .describe('Serves HTTPS instead of HTTP.');

export const listen = z
  .strictObject({
    host: listenAddress()
      .describe('The address to listen on; `::` is every address of the machine.')
      .prefault('127.0.0.1'),
    port: port().describe('`0` picks a free port; the log line `listening` names it.').prefault(5000),
    tls: tls.optional(),
  })
  .describe('The listener for clients.');

export const management = z
  .strictObject({
    host: listenAddress()
      .describe('The address of `/healthz`, `/readyz`, `/metrics` and `/api/v1/`.')
      .prefault('127.0.0.1'),
    port: port().describe('Must differ from `listen.port`.').prefault(5001),
    tokenFile: path()
      .describe(
        'A file with the bearer token of `/api/v1/`: at least 32 random bytes; re-read when it changes. Without it, the API changes nothing, and answers only on a loopback address.',
      )
      .optional(),
    hosts: z
      .array(host())
      .describe(
        'Further host names by which `/api/v1/` may be asked, such as that of a Service; names that are not known are refused (DNS rebinding).',
      )
      .prefault([]),
    pages: word(['management', 'public', 'off'])
      .describe(
        'Whether it has [pages for people](pages.md) at `/`; `public`: the listener for clients as well has pages that only read, of what every client may pull.',
      )
      .prefault('management'),
  })
  .describe('The listener for probes, metrics, the management API and pages.');

export const shutdown = z
  .strictObject({
    preStop: durationMs()
      .describe(
        'How long it keeps serving after SIGTERM while `/readyz` fails and each answer ends its connection, so that load balancers and clients go elsewhere.',
      )
      .prefault('0s'),
    drain: durationMs().describe('How long requests in progress may continue after that.').prefault('25s'),
  })
  .transform(({ preStop, drain }) => ({ preStopMs: preStop, drainMs: drain }))
  .describe('How the process shuts down.');

export const log = z
  .strictObject({
    level: word(['error', 'warn', 'info', 'debug', 'trace', 'silent'])
      .describe('The lowest severity to log.')
      .prefault('info'),
  })
  .describe('The log on stdout.');
