import { UpstreamError } from '../../oci/errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import {
  Pace,
  type PaceRules,
  limitsOf,
  nextGranted,
  type SlotLimits,
  type DownloadState,
  type UpstreamLimits,
  downloadToYield,
  type Yielding,
} from './slots.ts';

export interface SchedulerDeps {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly observer: Pick<Observer, 'downloadsWaiting'>;
  readonly limits: SlotLimits;
  /** How many downloads of one upstream may be queued. */
  readonly maxWaitingPerUpstream: number;
  readonly pace: PaceRules;
}

/** What the scheduler needs to know about a download. */
export interface Scheduled {
  /** The label of its upstream. */
  readonly label: string;
  /** The most connections to one of its hosts. */
  readonly maxConnections: number;
  hasClients(): boolean;
  /** Whether it is waiting for its upstream, and not for the disk. */
  waitsForUpstream(): boolean;
  /** Ends the download. It disposes its ticket when it has ended. */
  end(reason: UpstreamError): void;
}

/**
 *     queued ──▶ asking ──▶ answered ──▶ running ──▶ over
 *       │          │           │           └─ holds a slot of its upstream, and one of the total
 *       │          └───────────┴─ holds a slot of its upstream
 *       └─ holds none
 *
 * A slow download that is asking or running may have to give up its slot (`outside`): it continues without one.
 */
type Stage = 'queued' | 'asking' | 'answered' | 'running' | 'over';

/** Whether a slot becomes free: now, or when a download has ended. */
type Freed = 'now' | 'soon' | 'none';

/** A download's request for a slot, and then its slot. Disposing it frees the slot. */
export interface Ticket extends Disposable {
  /** Resolves when the upstream may be asked. */
  readonly admitted: Promise<void>;
  /** To be called when the upstream has answered. Resolves when its body may be received. */
  answered(): Promise<void>;
  received(bytes: number): void;
}

/** How often to look for slow downloads while others wait: there is no event for a download that becomes slow. */
const lookEveryMs = 500;
const retryAfterSeconds = 5;

/**
 * Assigns slots to downloads: first those of an upstream, then those of the total. A silent or slow upstream takes slots from its own
 * clients for a while, and none from clients of other upstreams.
 */
export class Scheduler {
  readonly #deps: SchedulerDeps;
  readonly #upstreams = new Map<string, UpstreamSlots>();
  /** Downloads whose upstream has answered and that wait for a slot of the total. */
  readonly #answered = new Set<TicketState>();
  #held = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: SchedulerDeps) {
    this.#deps = deps;
  }

  /** @throws UpstreamError busy when too many wait for this upstream already. */
  enter(download: Scheduled): Ticket {
    const limits = limitsOf(this.#deps.limits, download.maxConnections);
    const slots = this.#upstreams.get(download.label) ?? new UpstreamSlots(download.label, limits);
    slots.limits = limits;
    if (slots.line.size >= this.#deps.maxWaitingPerUpstream)
      throw new UpstreamError('busy', 'too many downloads of this upstream are waiting', { retryAfterSeconds });
    this.#upstreams.set(download.label, slots);
    const ticket = new TicketState(download, slots);
    slots.line.add(ticket);
    this.settle();
    return {
      admitted: ticket.turn.promise,
      answered: () => this.#answer(ticket),
      received: (bytes) => ticket.pace?.received(bytes, this.#nowMs()),
      [Symbol.dispose]: () => this.#release(ticket),
    };
  }

  /** Assigns free slots, and makes downloads yield theirs if others wait. To be called when a download has lost its last client. */
  settle(): void {
    do {
      for (const slots of this.#upstreams.values()) this.#admit(slots);
      this.#grant();
    } while (this.#yieldOne() !== 'none');
    for (const slots of this.#upstreams.values()) this.#reportWaiting(slots);
    this.#checkAgainLater();
  }

  #admit({ line, inside, limits }: UpstreamSlots): void {
    for (const ticket of line) {
      if (inside.size >= limits.slots) return;
      line.delete(ticket);
      inside.add(ticket);
      ticket.stage = 'asking';
      ticket.pace = new Pace(this.#deps.pace, this.#nowMs());
      ticket.turn.resolve();
    }
  }

  #answer(ticket: TicketState): Promise<void> {
    if (ticket.stage !== 'asking') return Promise.resolve();
    if (ticket.isOutside) {
      ticket.stage = 'running';
      return Promise.resolve();
    }
    ticket.stage = 'answered';
    ticket.turn = Promise.withResolvers();
    this.#answered.add(ticket);
    this.settle();
    return ticket.turn.promise;
  }

  #grant(): void {
    const { total, guaranteed } = this.#deps.limits;
    for (;;) {
      const next = nextGranted([...this.#answered].map((ticket) => ({ ticket, heldByUpstream: ticket.slots.held })));
      if (!next || (this.#held >= total && next.heldByUpstream >= guaranteed)) return;
      const { ticket } = next;
      this.#answered.delete(ticket);
      ticket.stage = 'running';
      ticket.pace = new Pace(this.#deps.pace, this.#nowMs());
      this.#hold(ticket, 1);
      ticket.turn.resolve();
    }
  }

  #hold(ticket: TicketState, change: 1 | -1): void {
    ticket.slots.held += change;
    this.#held += change;
  }

  /** Makes one download yield, if more are waiting than are already ending. */
  #yieldOne(): Freed {
    const all = [...this.#upstreams.values()];
    for (const slots of all.filter(({ line, ending }) => line.size > ending)) {
      const freed = this.#yieldOf(slots, () => true);
      if (freed !== 'none') return freed;
    }
    if (this.#answered.size <= all.reduce((sum, { ending }) => sum + ending, 0)) return 'none';
    for (const slots of all.toSorted((a, b) => b.held - a.held)) {
      const freed = this.#yieldOf(slots, ({ stage }) => stage === 'running');
      if (freed !== 'none') return freed;
    }
    return 'none';
  }

  #yieldOf(slots: UpstreamSlots, mayYield: (ticket: TicketState) => boolean): Freed {
    const nowMs = this.#nowMs();
    const states = [...slots.outside, ...slots.inside]
      .filter((ticket) => !ticket.isEnding && mayYield(ticket))
      .map((ticket) => stateOf(ticket, nowMs));
    const outside = { outside: slots.outside.size, maxOutside: slots.limits.outside };
    return this.#act(downloadToYield(states, outside));
  }

  #act(yielding: Yielding<DownloadState & { readonly ticket: TicketState }>): Freed {
    switch (yielding.kind) {
      case 'none':
        return 'none';
      case 'outside':
        this.#putOutside(yielding.download.ticket);
        return 'now';
      case 'end':
        this.#end(yielding.download.ticket, 'this download has no clients left and yields to one that has');
        return 'soon';
      case 'cut':
        this.#end(yielding.download.ticket, 'the upstream sends less than download.minRate, and other downloads wait');
        return 'soon';
    }
  }

  #putOutside(ticket: TicketState): void {
    if (ticket.stage === 'running') this.#hold(ticket, -1);
    ticket.isOutside = true;
    ticket.slots.inside.delete(ticket);
    ticket.slots.outside.add(ticket);
  }

  #end(ticket: TicketState, why: string): void {
    ticket.isEnding = true;
    ticket.slots.ending += 1;
    ticket.download.end(new UpstreamError('busy', why, { retryAfterSeconds }));
  }

  #release(ticket: TicketState): void {
    if (ticket.stage === 'over') return;
    const { slots } = ticket;
    if (ticket.stage === 'running' && !ticket.isOutside) this.#hold(ticket, -1);
    if (ticket.isEnding) slots.ending -= 1;
    ticket.stage = 'over';
    for (const set of [slots.line, slots.inside, slots.outside, this.#answered]) set.delete(ticket);
    this.settle();
    if (slots.isUnused) this.#upstreams.delete(slots.label);
  }

  #reportWaiting(slots: UpstreamSlots): void {
    const waiting = [...this.#answered].reduce(
      (sum, ticket) => sum + (ticket.slots === slots ? 1 : 0),
      slots.line.size,
    );
    if (slots.reportedWaiting === waiting) return;
    slots.reportedWaiting = waiting;
    this.#deps.observer.downloadsWaiting({ upstream: slots.label, waiting });
  }

  #checkAgainLater(): void {
    clearTimeout(this.#timer);
    const isWaitedFor = this.#answered.size > 0 || [...this.#upstreams.values()].some(({ line }) => line.size > 0);
    // Runs after pending data is received, so that a stall of this process does not make an upstream look slow.
    const look = () => setImmediate(() => this.settle());
    this.#timer = isWaitedFor ? setTimeout(look, lookEveryMs).unref() : undefined;
  }

  #nowMs(): number {
    return this.#deps.clock.monotonicMs();
  }
}

/** The slots of one upstream. */
class UpstreamSlots {
  readonly label: string;
  readonly line = new Set<TicketState>();
  readonly inside = new Set<TicketState>();
  readonly outside = new Set<TicketState>();
  /** How many slots of the total its downloads hold. */
  held = 0;
  /** How many of its downloads are being ended. */
  ending = 0;
  reportedWaiting = 0;
  /** A reload of the configuration may change it. */
  limits: UpstreamLimits;

  constructor(label: string, limits: UpstreamLimits) {
    this.label = label;
    this.limits = limits;
  }

  get isUnused(): boolean {
    return this.line.size + this.inside.size + this.outside.size === 0;
  }
}

class TicketState {
  readonly download: Scheduled;
  readonly slots: UpstreamSlots;
  turn = Promise.withResolvers<void>();
  stage: Stage = 'queued';
  isOutside = false;
  isEnding = false;
  pace: Pace | undefined;

  constructor(download: Scheduled, slots: UpstreamSlots) {
    this.download = download;
    this.slots = slots;
  }
}

function stateOf(ticket: TicketState, nowMs: number): DownloadState & { readonly ticket: TicketState } {
  const { download, pace, isOutside, stage } = ticket;
  if (stage === 'answered' || !download.waitsForUpstream()) pace?.excuse(nowMs);
  return {
    ticket,
    isOutside,
    hasClients: download.hasClients(),
    isSlow: pace?.isSlow(nowMs) ?? false,
    bytesPerSecond: pace?.bytesPerSecond(nowMs) ?? 0,
  };
}
