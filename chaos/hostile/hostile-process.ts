import { once } from 'node:events';
import { createServer } from 'node:http';
import { Dice } from '../dice.ts';
import { worldOf } from '../world.ts';
import { type HostileAnswer, hostileTo, oversized, silent, trickling } from './hostile-answers.ts';
import { type HostileName, portsIn } from './hostile-registries.ts';

// A process with registries that always misbehave. It reports each fault to its parent.

const [seed = '', ports = ''] = process.argv.slice(2);
const tellEveryMs = 200;

async function serve(): Promise<void> {
  const blobs = new Map<string, Buffer>(
    worldOf(seed).flatMap(({ image }) => image.blobs.map(({ digest, bytes }) => [digest, bytes] as const)),
  );
  const answers: Readonly<Record<HostileName, HostileAnswer>> = {
    'silent.test': silent,
    'trickling.test': trickling,
    'hostile.test': hostileTo(blobs, new Dice(`${seed}/hostile`)),
    'oversized.test': oversized(),
  };
  let done: string[] = [];
  for (const [name, port] of portsIn(ports)) {
    const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
      response.on('error', () => {}); // The other side has closed.
      const what = answers[name](request, response);
      if (what !== '') done.push(what);
    });
    await once(server.listen(port, '127.0.0.1'), 'listening');
  }
  process.once('disconnect', () => process.exit());
  process.send?.('ready');
  setInterval(() => {
    if (done.length > 0 && process.connected) process.send?.(done);
    done = [];
  }, tellEveryMs);
}

await serve();
