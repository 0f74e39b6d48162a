import { abortable } from '../../mirror/concurrency/abortable-wait.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { EventsObserver } from '../../mirror/ports/observer.ts';
import type { EventLog } from '../queue/event-log.ts';
import { isBefore, type LoggedEvent, type Position } from '../queue/log-lines.ts';
import { isRefusal, nextStep, type Outcome, type Step } from './next-step.ts';
import type { Sender } from './sender.ts';

export interface WebhookDeps {
  readonly name: string;
  /** Undefined: all types. */
  readonly types: ReadonlySet<string> | undefined;
  readonly log: Pick<EventLog, 'read' | 'first' | 'end'>;
  readonly sender: Pick<Sender, 'send' | 'close'>;
  readonly observer: Pick<EventsObserver, 'webhookAnswered' | 'webhookChanged'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly random: () => number;
  /** Rejects when the signal aborts. */
  readonly wait: (ms: number, options: { readonly signal: AbortSignal }) => Promise<void>;
  /** Resolves when the log has got longer since the call. */
  readonly written: () => Promise<void>;
  /** Called when it needs nothing before its position any more. */
  readonly onMoved: () => void;
}

/** Sends the events of the log to one receiver: one at a time, in order, each until it is taken. */
export class Webhook {
  readonly #deps: WebhookDeps;
  #position: Position;
  #sending: LoggedEvent | undefined;
  #isStopped = false;
  #isFailing = false;

  constructor(deps: WebhookDeps, position: Position) {
    this.#deps = deps;
    this.#position = position;
  }

  get name(): string {
    return this.#deps.name;
  }

  /** It has everything before this. */
  get position(): Position {
    return this.#isStopped ? this.#deps.log.end : this.#position;
  }

  /** When the event happened that it gets next; undefined if it has all. */
  get oldestAtMs(): number | undefined {
    return this.#sending?.timeMs;
  }

  /** Whether it is still to get an event that was in the log. */
  lacks({ type, position }: Pick<LoggedEvent, 'type' | 'position'>): boolean {
    return !this.#isStopped && this.#wants(type) && !isBefore(position, this.#position);
  }

  /** Sends until the signal aborts, or the receiver wants no more. @throws the signal's reason. */
  async run(signal: AbortSignal): Promise<void> {
    const { log, written } = this.#deps;
    while (!this.#isStopped) {
      signal.throwIfAborted();
      const changed = written();
      const { events, next } = await log.read(this.#position);
      for (const event of events) await this.#take(event, signal);
      if (this.#isStopped) return;
      if (events.length === 0 && isSame(next, this.#position)) await abortable(changed, signal);
      else this.#move(next);
    }
  }

  /** Nothing for an event of another type, and for one that was dropped from the log meanwhile. */
  async #take(event: LoggedEvent, signal: AbortSignal): Promise<void> {
    if (this.#isStopped || this.#isDropped(event)) return;
    if (this.#wants(event.type)) await this.#deliver(event, signal);
    this.#move(event.end);
  }

  async #deliver(event: LoggedEvent, signal: AbortSignal): Promise<void> {
    const { sender, clock, random, wait } = this.#deps;
    let refusedSinceMs: number | undefined;
    this.#sending = event;
    for (let failures = 1; !this.#isDropped(event); failures += 1) {
      const outcome = await sender.send(event, { signal });
      refusedSinceMs = isRefusal(outcome) ? (refusedSinceMs ?? clock.monotonicMs()) : undefined;
      const refusedForMs = clock.monotonicMs() - (refusedSinceMs ?? clock.monotonicMs());
      const step = nextStep(outcome, { failures, refusedForMs, random: random() });
      this.#report(outcome, step);
      if (step.kind !== 'retry') break;
      await wait(step.afterMs, { signal });
    }
    this.#sending = undefined;
  }

  #report(outcome: Outcome, step: Step): void {
    const { name, observer } = this.#deps;
    const webhook = name;
    const reason = outcome.kind === 'failed' ? outcome.reason : String(outcome.status);
    observer.webhookAnswered({ webhook, result: results[step.kind] });
    const isFailing = step.kind !== 'done';
    if (step.kind === 'stop') this.#stop(reason);
    else if (isFailing !== this.#isFailing) {
      observer.webhookChanged({ webhook, state: isFailing ? 'failing' : 'up', reason });
    }
    this.#isFailing = isFailing;
  }

  #stop(reason: string): void {
    const { name, observer, onMoved } = this.#deps;
    this.#isStopped = true;
    observer.webhookChanged({ webhook: name, state: 'stopped', reason });
    onMoved();
  }

  #wants(type: string): boolean {
    const { types } = this.#deps;
    return types === undefined || types.has(type);
  }

  #isDropped({ position }: LoggedEvent): boolean {
    return isBefore(position, this.#deps.log.first);
  }

  #move(position: Position): void {
    if (this.#isStopped || isBefore(position, this.#position)) return;
    this.#position = position;
    this.#deps.onMoved();
  }
}

const results = { done: 'delivered', skip: 'given_up', retry: 'failed', stop: 'gone' } as const;

function isSame(one: Position, other: Position): boolean {
  return one.segment === other.segment && one.offset === other.offset;
}
