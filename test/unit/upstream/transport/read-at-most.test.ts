import { expect, test } from 'vitest';
import { AnswerBody } from '../../../../src/upstream/transport/answer.ts';
import { readAtMost } from '../../../../src/upstream/transport/read-at-most.ts';

test('a manifest that trickles is given up when its time is over, and its connection is closed', async () => {
  const aborted = Promise.withResolvers<Error>();
  const controller = {
    aborted: false,
    reason: null,
    paused: false,
    abort: (reason: Error) => aborted.resolve(reason),
    pause: () => {},
    resume: () => {},
  };
  const body = new AnswerBody({ controller, host: 'registry.test', idleMs: 60_000, onBytes: () => {} });
  body.receive(Buffer.from('{'));
  const answer = { url: new URL('https://registry.test/'), status: 200, headers: {}, body };
  const trickling = setInterval(() => body.receive(Buffer.from(' ')), 5);
  const read = readAtMost(answer, 1_000_000, { withinMs: 50 });
  await expect(read).rejects.toMatchObject({ reason: 'timeout' });
  clearInterval(trickling);
  expect(await aborted.promise).toMatchObject({ reason: 'timeout' });
});
