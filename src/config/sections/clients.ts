import { z } from 'zod';
import { addressBlock } from './names.ts';
import { count, durationMs, word } from './values.ts';

export const clients = z
  .strictObject({
    mode: word(['anonymous'])
      .describe('Who may pull. `anonymous`: everyone who can reach the listener.')
      .prefault('anonymous'),
    idleTimeout: durationMs().describe('A client that reads nothing for this long is disconnected.').prefault('5m'),
    maxConnections: count()
      .describe('Open client connections. The next 100 get 503 with Retry-After; any beyond that are closed at once.')
      .prefault(10_000),
    maxRequests: count()
      .describe(
        'Concurrent requests. Any beyond that get 503 with Retry-After. Requests that wait for one upstream may use at most half of them.',
      )
      .prefault(4_000),
    trustedProxies: z
      .array(addressBlock())
      .describe(
        'Addresses and CIDR blocks of proxies and load balancers before the mirror: the client that they name is the one in logs and traces.',
      )
      .prefault([]),
    forwardedHeader: word(['x-forwarded-for', 'forwarded'])
      .describe(
        'The header by which `trustedProxies` name the client. They must set or append to it: no other is read.',
      )
      .prefault('x-forwarded-for'),
  })
  .transform(({ idleTimeout, ...rest }) => ({ ...rest, idleTimeoutMs: idleTimeout }))
  .describe('The clients that pull.');
