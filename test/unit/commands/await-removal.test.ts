import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { awaitRemoval, isDone } from '../../../src/commands/await-removal.ts';
import { freePort } from '../../support/free-port.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';

const status = (observedGeneration: number, desiredNumberScheduled: number, numberReady: number) => ({
  status: { observedGeneration, desiredNumberScheduled, numberReady },
});

test.each([
  [status(1, 3, 3), true],
  [status(1, 0, 0), true],
  [status(1, 3, 2), false],
  [status(0, 0, 0), false],
  [{ status: {} }, false],
  [{}, false],
  [undefined, false],
])('%j: done is %s', (daemonSet, done) => expect(isDone(daemonSet)).toBe(done));

/** An API server that answers these in turn, and the last one again and again. A text is sent as it is. */
async function apiServer(answers: readonly (object | number | string)[]) {
  const port = await freePort();
  const asked: string[] = [];
  const listener = createServer((request, response) => {
    asked.push(`${request.url} ${request.headers.authorization}`);
    const answer = answers[Math.min(asked.length, answers.length) - 1] ?? 500;
    if (typeof answer === 'number') response.writeHead(answer).end();
    else response.writeHead(200).end(typeof answer === 'string' ? answer : JSON.stringify(answer));
  });
  await once(listener.listen(port, '127.0.0.1'), 'listening');
  onTestFinished(() => void listener.close());
  const accountFolder = await temporaryDirectory();
  await writeFile(join(accountFolder, 'token'), 'a-token\n');
  const server = { url: `http://127.0.0.1:${port}`, accountFolder };
  return { asked, options: { server, namespace: 'cache', name: 'removal', pollMs: 1 } };
}

test('it waits until every node is done, also while the API server gives no answer', async () => {
  const { asked, options } = await apiServer([503, status(0, 0, 0), status(1, 2, 1), status(1, 2, 2)]);
  expect(await awaitRemoval({ ...options, withinMs: 10_000 })).toBe(true);
  expect(asked).toHaveLength(4);
  expect(asked[0]).toBe('/apis/apps/v1/namespaces/cache/daemonsets/removal Bearer a-token');
});

test('it does not wait for ever for a node that is down', async () => {
  const { options } = await apiServer([status(1, 2, 1)]);
  expect(await awaitRemoval({ ...options, withinMs: 50 })).toBe(false);
});

test('a time that is no number does not make it wait for ever', async () => {
  const { options } = await apiServer([500]);
  expect(await awaitRemoval({ ...options, withinMs: Number.NaN })).toBe(false);
});

test('an answer of more than two MiB is not kept', async () => {
  const { options } = await apiServer([`${JSON.stringify(status(1, 1, 1))}${' '.repeat(3 * 1024 * 1024)}`]);
  expect(await awaitRemoval({ ...options, withinMs: 50 })).toBe(false);
});
