import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createServer, type ServerOptions } from 'node:https';
import { freePort } from '../../support/free-port.ts';
import { thisTest } from '../../support/owner.ts';

/** A server on loopback that answers every request over TLS with a manifest. @returns its URL. */
export async function serveTls(options: ServerOptions, seen: (request: IncomingMessage) => void = () => {}) {
  const port = await freePort();
  const server = createServer(options, (request, response) => {
    seen(request);
    response
      .writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' })
      .end('{"schemaVersion":2}');
  });
  await once(server.listen(port, '127.0.0.1'), 'listening');
  thisTest(async () => {
    server.close();
    server.closeAllConnections();
  });
  return `https://127.0.0.1:${port}`;
}
