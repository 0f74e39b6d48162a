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

/** What the scheduler has to know of a download. */
export interface Scheduled {
  /** The label of its upstream. */
  readonly label: string;
  /** How many connections to one of its hosts there may be. */
  readonly maxConnections: number;
  hasClients(): boolean;
  /** Whether nothing arrives because of the upstream, and not because of the disk. */
  waitsForUpstream(): boolean;
  /** Ends it. It releases its ticket when it has ended. */
  end(reason: UpstreamError): void;
}

/**
 *     queued ──▶ asking ──▶ answered ──▶ running ──▶ over
 *       │          │           │           └─ holds a place of its upstream, and one of all
 *       │          └───────────┴─ holds a place of its upstream
 *       └─ holds none
 *
 * A slow download that is asking or running may be put outside: it goes on, and holds no place any more.
 */
type Stage = 'queued' | 'asking' | 'answered' | 'running' | 'over';

/** Whether a place is free, now or once a download has ended. */
type Freed = 'now' | 'soon' | 'nobody';

/** What one download holds. It must be released. */
export interface Ticket {
  /** Resolves when the upstream may be asked. Waiting ends with {@link release}. */
  readonly admitted: Promise<void>;
  /** The upstream has answered. Resolves when its body may be received. */
  answered(): Promise<void>;
  received(bytes: number): void;
  release(): void;
}

/** How often those who wait are looked at, as no event tells that a download has become slow. */
const lookEveryMs = 500;
const retryAfterSeconds = 5;

/**
 * Places for downloads: per upstream first, then in all. An upstream that is silent or slow costs its own clients a place, for a while,
 * and those of other upstreams none.
 */
export class Scheduler {
  readonly #deps: SchedulerDeps;
  readonly #upstreams = new Map<string, UpstreamPlaces>();
  /** Whose upstream has answered, and who wait for a place in all. */
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
      throw new UpstreamError('busy', 'too many downloads are waiting', { retryAfterSeconds });
    this.#upstreams.set(download.label, places);
    const ticket = new TicketState(download, places);
    places.line.add(ticket);
    this.settle();
    return {
      admitted: ticket.turn.promise,
      answered: () => this.#answer(ticket),
      received: (bytes) => ticket.pace?.received(bytes, this.#nowMs()),
      release: () => this.#release(ticket),
    };
  }

  /** Hands out what is free, and frees what can be. To be called when a download has lost its last client. */
  settle(): void {
    do {
      for (const places of this.#upstreams.values()) this.#admit(places);
      this.#grant();
    } while (this.#yieldOne() !== 'nobody');
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

  /** What ends frees its place later: no more are ended than wait. */
  #yieldOne(): Freed {
    const all = [...this.#upstreams.values()];
    for (const places of all.filter(({ line, ending }) => line.size > ending)) {
      const freed = this.#yieldOf(places, () => true);
      if (freed !== 'nobody') return freed;
    }
    if (this.#answered.size <= all.reduce((sum, { ending }) => sum + ending, 0)) return 'nobody';
    for (const places of all.toSorted((a, b) => b.held - a.held)) {
      const freed = this.#yieldOf(places, ({ stage }) => stage === 'running');
      if (freed !== 'nobody') return freed;
    }
    return 'nobody';
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
      case 'nobody':
        return 'nobody';
      case 'outside':
        this.#putOutside(yielding.who.ticket);
        return 'now';
      case 'end':
        this.#end(yielding.who.ticket, 'nobody waits for this download, and it yields to one that clients wait for');
        return 'soon';
      case 'cut':
        this.#end(yielding.who.ticket, 'its upstream sends less than download.minRate, and other downloads wait');
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
    // After what has arrived is received: a process that was held up is not the upstream's fault.
    const look = () => setImmediate(() => this.settle());
    this.#timer = isWaitedFor ? setTimeout(look, lookEveryMs).unref() : undefined;
  }

  #nowMs(): number {
    return this.#deps.clock.monotonicMs();
  }
}

/** Of one upstream. */
class UpstreamPlaces {
  readonly label: string;
  readonly line = new Set<TicketState>();
  readonly inside = new Set<TicketState>();
  readonly outside = new Set<TicketState>();
  /** How many of the places in all its downloads hold. */
  held = 0;
  /** How many of its downloads have been told to end and have not ended yet. */
  ending = 0;
  toldWaiting = 0;
  /** They follow the configuration. */
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
