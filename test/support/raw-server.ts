import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { freePort } from './free-port.ts';
import { type Owner, thisTest } from './owner.ts';

/**
 * A server on loopback for what no HTTP library would send: one request a connection.
 * @param answer is called with the request, in latin1. It ends the connection.
 * @returns its URL.
 */
export async function startRawServer(
  answer: (socket: Socket, request: string) => void,
  owner: Owner = thisTest,
): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    socket.setEncoding('latin1').once('data', (request: string) => answer(socket, request));
  });
  const port = await freePort();
  await once(server.listen(port, '127.0.0.1'), 'listening');
  owner(async () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return `http://127.0.0.1:${port}`;
}
