import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../support/free-port.ts';
import type { Owner } from '../../support/owner.ts';

/** What is wrong with a connection, in both directions. */
export interface LinkFaults {
  /** Added to the way of each piece. */
  readonly latencyMs?: number;
  /** In each direction of each connection. */
  readonly bytesPerSecond?: number;
  /** Connections stay open, and nothing arrives. What was sent meanwhile arrives when the link is mended. */
  readonly isSilent?: true;
  /** Likewise, for what a target sends on a connection after so many bytes. */
  readonly silentAfterBytes?: number;
  /** New connections are reset at once. */
  readonly refuses?: true;
}

interface Connection {
  readonly client: Socket;
  readonly server: Socket;
  readonly port: number;
}

/** When a piece was sent, and how many bytes were sent until its end. */
interface Sent {
  readonly atMs: number;
  readonly endBytes: number;
}

/** Bytes that may be under way in one direction of one connection. */
const maxUnderWay = 1024 * 1024;

/** A TCP proxy on loopback: it spreads connections over its targets in turn, and breaks them as it is told. */
export class TcpProxy {
  readonly port: number;
  readonly url: string;
  /** Sent by the targets. */
  receivedBytes = 0;
  #targets: readonly number[];
  readonly #connections = new Set<Connection>();
  readonly #outOfTurn = new Set<number>();
  #faults: LinkFaults = {};
  #mended = Promise.withResolvers<void>();
  #next = 0;
  #server: Server | undefined;

  constructor(port: number, targets: readonly number[]) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.#targets = targets;
  }

  async start(): Promise<void> {
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => void this.#accept(client));
    await once(this.#server.listen(this.port, '127.0.0.1', 1_024), 'listening');
  }

  async stop(): Promise<void> {
    this.#server?.close();
    this.mend();
    this.cut();
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** From now on, until the next call or {@link mend}. */
  fail(faults: LinkFaults): void {
    this.#faults = faults;
    if (!faults.isSilent) this.#release();
  }

  mend(): void {
    this.fail({});
  }

  /** Cuts every connection; new ones go to these targets. */
  redirectTo(targets: readonly number[]): void {
    this.#targets = targets;
    this.cut();
  }

  /** Resets every connection, or those to one target. */
  cut(port?: number): void {
    for (const connection of this.#connections) {
      if (port !== undefined && port !== connection.port) continue;
      connection.client.resetAndDestroy();
      connection.server.resetAndDestroy();
    }
  }

  /** Gives a target no new connections, as a load balancer does with a replica that is not ready. */
  drain(port: number): void {
    this.#outOfTurn.add(port);
  }

  /** Likewise, and cuts those it has. */
  takeOut(port: number): void {
    this.drain(port);
    this.cut(port);
  }

  putBack(port: number): void {
    this.#outOfTurn.delete(port);
  }

  async #accept(client: Socket): Promise<void> {
    client.on('error', () => {}); // `close` follows.
    if (this.#faults.refuses) return void client.resetAndDestroy();
    client.pause();
    const targets = this.#inTurn();
    for (const port of targets) {
      const server = await connected(port);
      if (!server) continue;
      return this.#join({ client, server, port });
    }
    client.resetAndDestroy();
  }

  /** The target whose turn it is, then the others, for the case that it accepts no connection. */
  #inTurn(): readonly number[] {
    const targets = this.#targets.filter((port) => !this.#outOfTurn.has(port));
    const first = this.#next % Math.max(1, targets.length);
    this.#next += 1;
    return [...targets.slice(first), ...targets.slice(0, first)];
  }

  #join(connection: Connection): void {
    const { client, server } = connection;
    this.#connections.add(connection);
    const end = (): void => {
      this.#connections.delete(connection);
      client.destroy();
      server.destroy();
    };
    client.once('close', end);
    server.once('close', end);
    if (client.destroyed) return end();
    this.#carry(client, server, () => 0);
    let [sentBytes, faults] = [0, this.#faults];
    this.#carry(server, client, (bytes) => {
      this.receivedBytes += bytes;
      if (faults !== this.#faults) [sentBytes, faults] = [0, this.#faults];
      return (sentBytes += bytes);
    });
  }

  /** @param count is told each piece. It returns the bytes so far. */
  #carry(from: Socket, to: Socket, count: (bytes: number) => number): void {
    let [underWay, line] = [0, Promise.resolve()];
    const arrive = async (piece: Buffer, sent: Sent): Promise<void> => {
      await this.#travel(piece.length, sent);
      if (!to.destroyed && !to.write(piece)) await drained(to);
      underWay -= piece.length;
      if (underWay < maxUnderWay) inTurn(from);
    };
    from.on('data', (piece: Buffer) => {
      const sent = { atMs: performance.now(), endBytes: count(piece.length) };
      underWay += piece.length;
      from.pause();
      if (underWay < maxUnderWay) inTurn(from);
      line = line.then(() => arrive(piece, sent));
    });
    from.once('end', () => {
      line = line.then(() => void to.end());
    });
    from.resume();
  }

  async #travel(bytes: number, { atMs, endBytes }: Sent): Promise<void> {
    const isHeld = ({ isSilent, silentAfterBytes = Infinity }: LinkFaults) => isSilent || endBytes > silentAfterBytes;
    while (isHeld(this.#faults)) await this.#mended.promise;
    const { latencyMs = 0, bytesPerSecond = Infinity } = this.#faults;
    const waitMs = Math.max(atMs + latencyMs - performance.now(), (1_000 * bytes) / bytesPerSecond);
    if (waitMs >= 1) await sleep(waitMs);
  }

  #release(): void {
    this.#mended.resolve();
    this.#mended = Promise.withResolvers();
  }
}

/** A proxy that is gone with its owner. */
export async function startTcpProxy(targets: readonly number[], owner: Owner): Promise<TcpProxy> {
  const proxy = new TcpProxy(await freePort(), targets);
  await proxy.start();
  owner(() => proxy.stop());
  return proxy;
}

/**
 * Reads on after everybody else has read once. Node reads up to 2 MiB from a socket before it looks at the next: among a hundred of them that
 * takes seconds, in which no new connection is accepted.
 */
export function inTurn(readable: Readable): void {
  setImmediate(() => readable.resume());
}

/** Resolves when it takes more, or is closed. */
async function drained(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.once('drain', resolve);
  socket.once('close', resolve);
  await promise;
  socket.off('drain', resolve);
  socket.off('close', resolve);
}

async function connected(port: number): Promise<Socket | undefined> {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true });
  socket.on('error', () => {}); // `close` follows.
  const { promise, resolve } = Promise.withResolvers<boolean>();
  socket.once('connect', () => resolve(true));
  socket.once('close', () => resolve(false));
  return (await promise) ? socket : undefined;
}
