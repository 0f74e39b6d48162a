import type { ServerResponse } from 'node:http';
import { commonHeaders } from './content-response.ts';

const retryAfterSeconds = 2;
const body = JSON.stringify({
  errors: [{ code: 'UNAVAILABLE', message: 'the mirror has as many connections as it can' }],
});

/** Answers on a connection that is one too many, without the app, and ends it. */
export function refuseSurplus(response: ServerResponse): void {
  response.writeHead(503, {
    ...commonHeaders,
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
    'Retry-After': retryAfterSeconds,
    Connection: 'close',
  });
  response.end(body);
}
