import { z } from 'zod';
import { count, durationMs, word } from './values.ts';

export const clients = z
  .strictObject({
    mode: word(['anonymous'])
      .describe('Who may pull: `anonymous`, everyone who reaches the listener.')
      .prefault('anonymous'),
    idleTimeout: durationMs().describe('A client that takes nothing for so long is cut off.').prefault('5m'),
    maxConnections: count()
      .describe('Connections at the same time; a hundred more are told to come back, further ones are closed at once.')
      .prefault(10_000),
    maxRequests: count()
      .describe(
        'Requests that are answered at the same time; further ones get 503 with Retry-After. Those that wait for one upstream take half of them at most.',
      )
      .prefault(4_000),
  })
  .transform(({ idleTimeout, ...rest }) => ({ ...rest, idleTimeoutMs: idleTimeout }))
  .describe('Who pulls.');
