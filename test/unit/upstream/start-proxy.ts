import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { freePort } from '../../support/free-port.ts';
import { thisTest } from '../../support/owner.ts';

export interface TestProxy {
  readonly url: string;
  /** `CONNECT host:port` and `GET http://host/path`, in the order in which they came. */
  readonly asked: readonly string[];
}

/**
 * Forwards plain requests and opens tunnels, and notes whereto.
 * @param options.port of this machine, where every tunnel ends; by default the one that is asked for.
 */
export async function startProxy({ port: target }: { readonly port?: number } = {}): Promise<TestProxy> {
  const port = await freePort();
  const asked: string[] = [];
  const proxy = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response
      .writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' })
      .end('{"schemaVersion":2}');
  });
  proxy.on('connect', (request, socket) => {
    asked.push(`CONNECT ${request.url}`);
    const tunnel = connect(target ?? Number(request.url?.split(':')[1]), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      tunnel.pipe(socket).pipe(tunnel);
    });
    tunnel.on('error', () => socket.destroy());
    socket.on('error', () => tunnel.destroy());
  });
  await once(proxy.listen(port, '127.0.0.1'), 'listening');
  thisTest(async () => {
    proxy.close();
    proxy.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${port}`, asked };
}
