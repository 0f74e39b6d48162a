import { join } from 'node:path';
import { eventOf, type Occurrence } from '../../../src/events/event.ts';
import type { Outcome } from '../../../src/events/webhooks/next-step.ts';
import { Webhooks } from '../../../src/events/webhooks/webhooks.ts';
import type { EventsObserver } from '../../../src/mirror/ports/observer.ts';
import { DurableFolders } from '../../../src/storage/filesystem/durable-folders.ts';
import { nodeFiles } from '../../../src/storage/filesystem/file-system.ts';
import { StateFile } from '../../../src/storage/filesystem/state-file.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';

export const mib = 1024 * 1024;
export const eventClock = new ManualClock();
/** The checksum, a space and a line break. */
const lineOverhead = 10;

export class RecordingEvents implements EventsObserver {
  readonly dropped: Parameters<EventsObserver['eventsDropped']>[0][] = [];
  readonly changes: Parameters<EventsObserver['webhookChanged']>[0][] = [];
  readonly results: string[] = [];
  readonly failures: unknown[] = [];
  damaged = 0;

  eventTold(): void {}

  eventsDropped(event: Parameters<EventsObserver['eventsDropped']>[0]): void {
    this.dropped.push(event);
  }

  eventQueueDamaged(): void {
    this.damaged += 1;
  }

  eventQueueFailed({ cause }: { readonly cause: unknown }): void {
    this.failures.push(cause);
  }

  webhookAnswered({ result }: Parameters<EventsObserver['webhookAnswered']>[0]): void {
    this.results.push(result);
  }

  webhookChanged(event: Parameters<EventsObserver['webhookChanged']>[0]): void {
    this.changes.push(event);
  }
}

export interface Hook {
  readonly types?: readonly string[];
  readonly send: (event: Record<string, unknown>, stopping: AbortSignal) => Outcome | Promise<Outcome>;
}

/** Webhooks by name, over a store of its own or a given one. `bytesBefore`: the length of the lines that it had. */
export async function startWebhooks(hooks: Readonly<Record<string, Hook>>, store?: string, bytesBefore = 0) {
  const path = store ?? (await temporaryDirectory());
  const [observer, time] = [new RecordingEvents(), new ManualClock()];
  const folders = new DurableFolders({ files: nodeFiles });
  await nodeFiles.mkdir(join(path, 'incoming')).catch(() => {});
  let bytes = bytesBefore;
  const push = (occurrence: Occurrence): void => {
    const event = eventOf(occurrence, { source: 'urn:test', clock: eventClock });
    bytes += Buffer.byteLength(event.json) + lineOverhead;
    webhooks.push(event);
  };
  const webhooks = new Webhooks({
    webhooks: Object.entries(hooks).map(([name, { types, send }]) => ({
      name,
      types: types && new Set(types),
      createSender: async () => ({
        send: async ({ json }, { signal: stopping }) => send(JSON.parse(json), stopping),
        close: async () => {},
      }),
    })),
    folder: join(path, 'events'),
    maxBytes: mib,
    files: nodeFiles,
    hold: async () => {},
    positionsFile: new StateFile({
      path,
      name: 'events/positions.json',
      maxBytes: mib,
      files: nodeFiles,
      folders,
      observer: { internalError: () => {} },
      failpoint: undefined,
      hold: async () => {},
    }),
    clock: time,
    observer,
    tell: push,
    random: () => 0,
    wait: async (ms, { signal: stopping }) => {
      time.advance(ms);
      await new Promise(setImmediate);
      stopping.throwIfAborted();
    },
  });
  await webhooks.start();
  /** The length of all lines so far. */
  const lineBytes = (): number => bytes;
  return { webhooks, observer, path, push, lineBytes };
}

/** An event that is told apart by a number. */
export const low = (remaining: number): Occurrence => ({
  type: 'io.layerwell.upstream.rate_limit_low',
  subject: 'docker.io',
  data: { upstream: 'docker.io', account: 'anonymous', limit: 100, remaining },
});
export const numberOf = (event: Record<string, unknown>) => Object(event['data']).remaining;
