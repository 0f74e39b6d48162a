import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { Owner } from '../../test/support/owner.ts';

/**
 * A Sentinel as one replica sees it: it names the replica's own links instead of the real ports. Without it a replica would learn the way
 * around its links from the Sentinel. All ports have five digits, so no length in the protocol changes.
 * @param ports the port of the link to each real port
 * @returns the port where it listens
 */
export async function startSentinelView(
  { port, ports }: { readonly port: number; readonly ports: ReadonlyMap<number, number> },
  owner: Owner,
): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const sentinel = connect({ host: '127.0.0.1', port });
    for (const socket of [client, sentinel]) {
      sockets.add(socket);
      socket.on('error', () => {}); // `close` follows.
      socket.once('close', () => {
        sockets.delete(socket);
        client.destroy();
        sentinel.destroy();
      });
    }
    client.pipe(sentinel);
    sentinel.on('data', (reply: Buffer) => void client.write(asSeen(reply, ports)));
  });
  owner(async () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  return typeof address === 'object' && address ? address.port : 0;
}

/** The reply with every port that is a bulk string of its own replaced. Pure. */
export function asSeen(reply: Buffer, ports: ReadonlyMap<number, number>): Buffer {
  const text = reply.toString('latin1');
  const seen = text.replace(/(?<=\$5\r\n)\d{5}(?=\r\n)/g, (port) => String(ports.get(Number(port)) ?? port));
  return Buffer.from(seen, 'latin1');
}
