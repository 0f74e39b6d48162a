/** Signals that come while the program is still being loaded, of real processes. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { startProcess } from '../support/processes.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

/** @returns what makes a process send itself the signal when it loads the mirror, after its own handlers could be there. */
async function signalledWhileLoading(signal: NodeJS.Signals): Promise<Readonly<Record<string, string>>> {
  const file = join(await temporaryDirectory(), 'signalled.mjs');
  await writeFile(
    file,
    `import { registerHooks } from 'node:module';
registerHooks({
  load(url, context, next) {
    if (url.endsWith('/commands/serve.ts')) process.kill(process.pid, '${signal}');
    return next(url, context);
  },
});
`,
  );
  return { NODE_OPTIONS: `--import ${pathToFileURL(file).href}` };
}

test('SIGHUP while the mirror starts does not end it: it serves, and has read its file again', async () => {
  const mirror = await startMirror(mirrorOf(await startFakeRegistry()), { env: await signalledWhileLoading('SIGHUP') });
  await mirror.logged(({ msg }) => msg === 'configuration reloaded');
  expect((await ask(mirror, '/v2/')).status).toBe(200);
});

test('SIGTERM while the mirror starts is not lost: it ends with 0', async () => {
  const file = join(await temporaryDirectory(), 'mirror.config.json');
  await writeFile(file, JSON.stringify(mirrorOf(await startFakeRegistry())));
  const env = await signalledWhileLoading('SIGTERM');
  const mirror = startProcess(process.execPath, ['src/main.ts', 'serve', '--config', file], { env });
  expect(await mirror.exited).toEqual({ code: 0, signal: null });
});
