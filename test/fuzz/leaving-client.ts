import { connect, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';

/**
 * When a client resets its connection: so many turns of the event loop after it asked, so that it falls on any of the moments at which the
 * mirror waits for something; once so many bytes have come; or never.
 */
export type Leaving =
  | { readonly when: 'turns'; readonly count: number }
  | { readonly when: 'bytes'; readonly count: number }
  | { readonly when: 'never' };

/** Asks on a connection of its own. Resolves when that is closed, by whichever side, with what had come. */
export function askAndLeave(host: string, request: string, leaving: Leaving): Promise<Buffer> {
  const { hostname, port } = new URL(`http://${host}`);
  const socket = connect(Number(port), hostname);
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const pieces: Buffer[] = [];
  let bytes = 0;
  socket.on('data', (piece: Buffer) => {
    pieces.push(piece);
    bytes += piece.length;
    if (leaving.when === 'bytes' && bytes >= leaving.count) socket.resetAndDestroy();
  });
  socket.on('error', () => {}); // `close` follows.
  socket.once('close', () => resolve(Buffer.concat(pieces)));
  socket.write(request);
  if (leaving.when === 'turns') void leaveAfter(leaving.count, socket);
  return promise;
}

async function leaveAfter(turns: number, socket: Socket): Promise<void> {
  await afterTurns(turns);
  socket.resetAndDestroy();
}

/** Resolves so many turns of the event loop later. */
export async function afterTurns(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await nextTurn();
}
