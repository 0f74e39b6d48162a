import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import type Koa from 'koa';
import { thisTest } from './owner.ts';

/** Serves on a port of its own until the test ends. @param tls the certificate and its key; absent: without TLS. @returns the port. */
export async function serve(handle: RequestListener, tls?: ServerOptions): Promise<number> {
  const server = tls ? createTlsServer(tls, handle) : createServer(handle);
  thisTest(async () => {
    server.closeAllConnections();
    server.close();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a TCP server has one
  return (server.address() as AddressInfo).port;
}

/** Likewise, an app. @returns its address, without a slash at the end. */
export async function serveApp<State, Context>(app: Koa<State, Context>): Promise<string> {
  const handle = app.callback();
  return `http://127.0.0.1:${await serve((asked, answer) => void handle(asked, answer))}`;
}
