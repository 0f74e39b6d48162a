import type { IncomingMessage } from 'node:http';
import type { ServerOptions } from 'node:https';
import { serve } from '../../support/serve.ts';

/** A server on loopback that answers every request over TLS with a manifest. @returns its URL. */
export async function serveTls(options: ServerOptions, seen: (request: IncomingMessage) => void = () => {}) {
  const port = await serve((request, response) => {
    seen(request);
    response
      .writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' })
      .end('{"schemaVersion":2}');
  }, options);
  return `https://127.0.0.1:${port}`;
}
