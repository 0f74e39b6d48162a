import { execFileSync } from 'node:child_process';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { thisTest } from '../support/owner.ts';
import { startProcess } from '../support/processes.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

const namespaceOfItsOwn = ['--pid', '--fork', '--kill-child', process.execPath, 'src/main.ts'];

/** Only root may make a namespace of processes. */
function canBeProcessOne(): boolean {
  try {
    execFileSync('unshare', ['--pid', '--fork', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** A registry that accepts connections and never answers. */
async function silentRegistry() {
  const connected = Promise.withResolvers<void>();
  const server = createServer(() => connected.resolve());
  thisTest(async () => void server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`,
    connected: connected.promise,
  };
}

/** The first process of a namespace, as a container starts it: signals without a handler do not end it. */
function asProcessOne(command: readonly string[]) {
  const started = startProcess('unshare', [...namespaceOfItsOwn, ...command]);
  const terminate = () => execFileSync('pkill', ['-TERM', '--parent', String(started.pid)]);
  return { started, terminate };
}

async function fileWith(config: object): Promise<string> {
  const folder = await temporaryDirectory();
  const file = join(folder, 'mirror.config.json');
  await writeFile(file, JSON.stringify({ storage: { path: folder }, ...config }));
  return file;
}

describe.skipIf(!canBeProcessOne())('as the first process of a container', () => {
  test('a mirror stops at SIGTERM', async () => {
    const [port, management] = [await freePort(), await freePort()];
    const file = await fileWith({
      listen: { port },
      management: { port: management },
      upstreams: { 'a.example': { url: 'http://127.0.0.1:9' } },
    });
    const { started, terminate } = asProcessOne(['serve', '--config', file]);
    await started.waitUntil(({ stdout }) => stdout.includes('"listening"'));
    terminate();
    expect(await started.exited).toMatchObject({ code: 0 });
    expect(started.stdout).toContain('"stopped"');
  });

  test('a check that waits for a registry ends at SIGTERM', async () => {
    const { url, connected } = await silentRegistry();
    const file = await fileWith({ upstreams: { 'a.example': { url } } });
    const { started, terminate } = asProcessOne(['check', '--online', '--config', file]);
    await connected;
    const before = performance.now();
    terminate();
    expect(await started.exited).toMatchObject({ code: 128 + 15 });
    expect(performance.now() - before).toBeLessThan(5_000);
  });
});
