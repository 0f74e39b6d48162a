import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Below the range that Linux gives to outgoing connections (32768 and up), each worker of the tests has ports of its own: no other
 * one takes the port of a server that is stopped for a while.
 */
const [firstPort, portsOfWorker, workers] = [20_000, 2_000, 6];

/** The worker gives its ports in turn: a server that comes back finds its own free, unless 2,000 others were started meanwhile. */
let given = randomInt(portsOfWorker);

/** A port of 127.0.0.1 without a listener. It is given once, until all ports of this worker were given. */
export async function freePort(): Promise<number> {
  const worker = Number(process.env['VITEST_POOL_ID'] ?? 0) % workers;
  given = (given + 1) % portsOfWorker;
  const port = firstPort + worker * portsOfWorker + given;
  return (await isFree(port)) ? port : freePort();
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}
