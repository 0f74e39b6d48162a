import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

/** A listener whose answers never end. */
export async function startEndlessAnswer(): Promise<{ readonly port: number; readonly sentBytes: () => number }> {
  let sentBytes = 0;
  const server = createServer((_, response) => {
    const send = () => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536, 'x'))) sentBytes += 65_536;
      response.once('drain', send);
    };
    send();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => void server.close());
  const { port }: Pick<AddressInfo, 'port'> = Object.assign({ port: 0 }, server.address());
  return { port, sentBytes: () => sentBytes };
}
