import { once } from 'node:events';
import { createServer } from 'node:net';
import { freePort } from '../../support/free-port.ts';
import { thisTest } from '../../support/owner.ts';

/** A server on loopback that must not be called. */
export async function countConnections(): Promise<{ readonly port: number; connections(): number }> {
  const port = await freePort();
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    socket.destroy();
  });
  await once(server.listen(port, '127.0.0.1'), 'listening');
  thisTest(async () => void server.close());
  return { port, connections: () => connections };
}
