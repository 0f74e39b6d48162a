import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { apiOf } from '../../../../src/commands/api/client.ts';

test('a listener that answers without an end is not the API of a mirror', async () => {
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
  const api = await apiOf({ file: '', env: {}, server: `http://127.0.0.1:${port}` });
  await expect(api('stats')).rejects.toThrow('its answer is too long');
  expect(sentBytes).toBeLessThan(60_000_000);
});
