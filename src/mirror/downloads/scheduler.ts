import { UpstreamError } from '../../oci/errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import { Pace, type PaceRules } from './pace.ts';
import {
  limitsOf,
  nextGranted,
  type PlaceLimits,
  type Standing,
  type UpstreamLimits,
  whoYields,
  type Yielding,
} from './places.ts';

export interface SchedulerDeps {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly observer: Pick<Observer, 'downloadsWaiting'>;
  readonly limits: PlaceLimits;
  /** How many downloads of one upstream may wait in line. */
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
  /** Ends the download. It releases its ticket when it has ended. */
  end(reason: UpstreamError): void;
}

/**
 *     queued ──▶ asking ──▶ answered ──▶ running ──▶ over
 *       │          │           │           └─ holds a place of its upstream, and one of the total
 *       │          └───────────┴─ holds a place of its upstream
 *       └─ holds none
 *
 * A slow download that is asking or running may be put outside: it goes on without a place.
 */
type Stage = 'queued' | 'asking' | 'answered' | 'running' | 'over';

/** Whether a place becomes free: now, or once a download has ended. */
type Freed = 'now' | 'soon' | 'none';

/** One download's claim to a place. Disposing it frees the place. */
export interface Ticket extends Disposable {
  /** Resolves when the upstream may be asked. */
  readonly admitted: Promise<void>;
  /** To be called when the upstream has answered. Resolves when its body may be received. */
  answered(): Promise<void>;
  received(bytes: number): void;
}

/** How often to look for downloads that have become slow while others wait: there is no event for that. */
const lookEveryMs = 500;
const retryAfterSeconds = 5;

/**
 * Hands out places for downloads: first those of an upstream, then those of the total. A silent or slow upstream takes a place from its own
 * clients for a while, and none from clients of other upstreams.
 */
export class Scheduler {
  readonly #deps: SchedulerDeps;
  readonly #upstreams = new Map<string, UpstreamPlaces>();
  /** Downloads whose upstream has answered and that wait for a place of the total. */
  readonly #answered = new Set<TicketState>();
  #held = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: SchedulerDeps) {
    this.#deps = deps;
  }

  /** @throws UpstreamError busy when too many wait for this upstream already. */
  enter(download: Scheduled): Ticket {
    const limits = limitsOf(this.#deps.limits, download.maxConnections);
    const places = this.#upstreams.get(download.label) ?? new UpstreamPlaces(download.label, limits);
    places.limits = limits;
    if (places.line.size >= this.#deps.maxWaitingPerUpstream)
      throw new UpstreamError('busy', 'too many downloads of this upstream are waiting', { retryAfterSeconds });
    this.#upstreams.set(download.label, places);
    const ticket = new TicketState(download, places);
    places.line.add(ticket);
    this.settle();
    return {
      admitted: ticket.turn.promise,
      answered: () => this.#answer(ticket),
      received: (bytes) => ticket.pace?.received(bytes, this.#nowMs()),
      [Symbol.dispose]: () => this.#release(ticket),
    };
  }

  /** Hands out free places, and makes downloads yield theirs if others wait. To be called when a download has lost its last client. */
  settle(): void {
    do {
      for (const places of this.#upstreams.values()) this.#admit(places);
      this.#grant();
    } while (this.#yieldOne() !== 'none');
    for (const places of this.#upstreams.values()) this.#tellWaiting(places);
    this.#lookAgain();
  }

  #admit({ line, inside, limits }: UpstreamPlaces): void {
    for (const ticket of line) {
      if (inside.size >= limits.places) return;
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
      const next = nextGranted([...this.#answered].map((ticket) => ({ ticket, heldByUpstream: ticket.places.held })));
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
    ticket.places.held += change;
    this.#held += change;
  }

  /** Makes one download yield, if more wait than are ending already. */
  #yieldOne(): Freed {
    const all = [...this.#upstreams.values()];
    for (const places of all.filter(({ line, ending }) => line.size > ending)) {
      const freed = this.#yieldOf(places, () => true);
      if (freed !== 'none') return freed;
    }
    if (this.#answered.size <= all.reduce((sum, { ending }) => sum + ending, 0)) return 'none';
    for (const places of all.toSorted((a, b) => b.held - a.held)) {
      const freed = this.#yieldOf(places, ({ stage }) => stage === 'running');
      if (freed !== 'none') return freed;
    }
    return 'none';
  }

  #yieldOf(places: UpstreamPlaces, mayYield: (ticket: TicketState) => boolean): Freed {
    const nowMs = this.#nowMs();
    const standings = [...places.outside, ...places.inside]
      .filter((ticket) => !ticket.isEnding && mayYield(ticket))
      .map((ticket) => standingOf(ticket, nowMs));
    const outside = { outside: places.outside.size, maxOutside: places.limits.outside };
    return this.#act(whoYields(standings, outside));
  }

  #act(yielding: Yielding<Standing & { readonly ticket: TicketState }>): Freed {
    switch (yielding.kind) {
      case 'none':
        return 'none';
      case 'outside':
        this.#putOutside(yielding.who.ticket);
        return 'now';
      case 'end':
        this.#end(yielding.who.ticket, 'this download has no clients left and yields to one that has');
        return 'soon';
      case 'cut':
        this.#end(yielding.who.ticket, 'the upstream sends less than download.minRate, and other downloads wait');
        return 'soon';
    }
  }

  #putOutside(ticket: TicketState): void {
    if (ticket.stage === 'running') this.#hold(ticket, -1);
    ticket.isOutside = true;
    ticket.places.inside.delete(ticket);
    ticket.places.outside.add(ticket);
  }

  #end(ticket: TicketState, why: string): void {
    ticket.isEnding = true;
    ticket.places.ending += 1;
    ticket.download.end(new UpstreamError('busy', why, { retryAfterSeconds }));
  }

  #release(ticket: TicketState): void {
    if (ticket.stage === 'over') return;
    const { places } = ticket;
    if (ticket.stage === 'running' && !ticket.isOutside) this.#hold(ticket, -1);
    if (ticket.isEnding) places.ending -= 1;
    ticket.stage = 'over';
    for (const set of [places.line, places.inside, places.outside, this.#answered]) set.delete(ticket);
    this.settle();
    if (places.isUnused) this.#upstreams.delete(places.label);
  }

  #tellWaiting(places: UpstreamPlaces): void {
    const waiting = [...this.#answered].reduce(
      (sum, ticket) => sum + (ticket.places === places ? 1 : 0),
      places.line.size,
    );
    if (places.toldWaiting === waiting) return;
    places.toldWaiting = waiting;
    this.#deps.observer.downloadsWaiting({ upstream: places.label, waiting });
  }

  #lookAgain(): void {
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

/** The places of one upstream. */
class UpstreamPlaces {
  readonly label: string;
  readonly line = new Set<TicketState>();
  readonly inside = new Set<TicketState>();
  readonly outside = new Set<TicketState>();
  /** How many places of the total its downloads hold. */
  held = 0;
  /** How many of its downloads are being ended. */
  ending = 0;
  toldWaiting = 0;
  /** A reload of the configuration may change them. */
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
  readonly places: UpstreamPlaces;
  turn = Promise.withResolvers<void>();
  stage: Stage = 'queued';
  isOutside = false;
  isEnding = false;
  pace: Pace | undefined;

  constructor(download: Scheduled, places: UpstreamPlaces) {
    this.download = download;
    this.places = places;
  }
}

function standingOf(ticket: TicketState, nowMs: number): Standing & { readonly ticket: TicketState } {
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
