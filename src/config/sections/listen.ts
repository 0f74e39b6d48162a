import { z } from 'zod';
import { durationMs, path, port, text, word } from './values.ts';

const tls = z
  .strictObject({
    certFile: path().describe('The certificate chain, PEM; read again when it is renewed.'),
    keyFile: path().describe('Its private key, PEM.'),
  })
  .describe('Serves HTTPS instead of HTTP.');

export const listen = z
  .strictObject({
    host: text()
      .describe('The address that clients reach; `::` is every address of the machine.')
      .prefault('127.0.0.1'),
    port: port().describe('0 takes a free port, told in the line `listening` of the log.').prefault(5000),
    tls: tls.optional(),
  })
  .describe('Where clients pull.');

export const management = z
  .strictObject({
    host: text().describe('The address of `/healthz`, `/readyz` and `/metrics`.').prefault('127.0.0.1'),
    port: port().describe('Never the port of clients.').prefault(5001),
  })
  .describe('Where operators look: the second listener.');

export const shutdown = z
  .strictObject({
    preStop: durationMs()
      .describe('How long it goes on as usual after SIGTERM, not ready, until balancers have noticed.')
      .prefault('0s'),
    drain: durationMs().describe('How long pulls in progress may go on after that.').prefault('25s'),
  })
  .transform(({ preStop, drain }) => ({ preStopMs: preStop, drainMs: drain }))
  .describe('How the process stops.');

export const log = z
  .strictObject({
    level: word(['error', 'warn', 'info', 'debug', 'trace', 'silent'])
      .describe('The least severe line that is written.')
      .prefault('info'),
  })
  .describe('What is written to stdout.');
