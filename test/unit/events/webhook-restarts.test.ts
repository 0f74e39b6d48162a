import { cp } from 'node:fs/promises';
import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import type { Outcome } from '../../../src/events/webhooks/next-step.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';
import { low, numberOf, startWebhooks } from './start-webhooks.ts';

const signal = AbortSignal.timeout(60_000);
const answers: Readonly<Record<'take' | 'refuse' | 'fail', Outcome>> = {
  take: { kind: 'answered', status: 204, retryAfterMs: undefined },
  refuse: { kind: 'answered', status: 400, retryAfterMs: undefined },
  fail: { kind: 'failed', reason: 'connect' },
};
const answer = fc.constantFrom<keyof typeof answers>('take', 'take', 'take', 'refuse', 'fail');
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('push' as const), count: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('crash' as const) }) },
);

/** What one receiver got: the number and id of each request. */
class Receiver {
  readonly got: { readonly number: number; readonly id: unknown }[] = [];
  readonly #script: readonly (keyof typeof answers)[];
  #asked = 0;
  isMended = false;

  constructor(script: readonly (keyof typeof answers)[]) {
    this.#script = script;
  }

  readonly send = (event: Record<string, unknown>): Outcome => {
    this.got.push({ number: numberOf(event), id: event['id'] });
    const kind = this.isMended ? 'take' : (this.#script[this.#asked % this.#script.length] ?? 'take');
    this.#asked += 1;
    return answers[kind];
  };

  /** The numbers in the order in which they first came. */
  get first(): readonly number[] {
    return [...new Set(this.got.map(({ number }) => number))];
  }
}

test('whatever receivers answer, and however often the mirror is restarted or killed, each gets every event in order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 3, maxLength: 12 }),
      fc.array(fc.array(answer, { minLength: 1, maxLength: 7 }), { minLength: 2, maxLength: 2 }),
      async (steps, scripts) => {
        const receivers = scripts.map((script) => new Receiver(script));
        const [one, two] = receivers;
        /** Takes nothing, so that the log keeps everything: its size says what is on the disk. */
        const parked = { send: async () => answers.fail };
        const hooks = { one: { send: one?.send ?? parked.send }, two: { send: two?.send ?? parked.send }, parked };
        let path = await temporaryDirectory();
        let running = await startWebhooks(hooks, path);
        let pushed = 0;
        const onDisk = async () => vi.waitUntil(() => running.lineBytes() === running.webhooks.queueBytes);
        for (const each of steps) {
          if (each.kind === 'push') {
            for (let count = 0; count < each.count; count += 1) running.push(low((pushed += 1)));
          } else if (each.kind === 'restart') {
            await running.webhooks.stop(signal);
            running = await startWebhooks(hooks, path, running.lineBytes());
          } else {
            await onDisk();
            const copy = await temporaryDirectory();
            await cp(path, copy, { recursive: true });
            await running.webhooks.stop(signal);
            running = await startWebhooks(hooks, copy, running.lineBytes());
            path = copy;
          }
        }
        running.push(low((pushed += 1)));
        for (const receiver of receivers) receiver.isMended = true;
        await vi.waitUntil(() => receivers.every(({ first }) => first.length === pushed), { timeout: 20_000 });
        const wanted = Array.from({ length: pushed }, (_, place) => place + 1);
        for (const { got, first } of receivers) {
          expect(first).toEqual(wanted);
          expect(new Set(got.map(({ id }) => id)).size).toBe(pushed);
        }
        await running.webhooks.stop(signal);
      },
    ),
    { numRuns: 8 },
  );
}, 60_000);
