import type { ServerResponse } from 'node:http';
import type { HttpContext } from '../../server/context.ts';
import { Problem } from '../problems.ts';
import type { Html } from './html.ts';

/** Parts of a page, by their names. */
type Regions = Readonly<Record<string, Html>>;

export interface LiveDeps {
  /** Makes the parts anew. A failure leaves the page as it is. */
  readonly regions: () => Promise<Regions>;
  /** Calls back again and again. For tests. @returns what ends it. */
  readonly every?: (tell: () => void) => () => void;
  /** For tests. */
  readonly most?: number;
}

const mostListeners = 32;
const everyMs = 2_000;
/** A browser comes back by itself, and then shows again that it may read. */
const turns = 30;
/** How many more turns a stream may take to end: one that reads a byte now and then would hold its place for ever. */
const turnsToEnd = 5;

interface Listener {
  readonly response: ServerResponse;
  /** What it was sent last. */
  readonly sent: Map<string, string>;
  turnsLeft: number;
}

/**
 * Server-sent events for open pages: parts of them that have changed. They are made once for all listeners, and not at all while there is none.
 * A listener that does not read gets nothing more until it does.
 */
export class Live {
  readonly #deps: LiveDeps;
  readonly #listeners = new Set<Listener>();
  #stopTurns: (() => void) | undefined;
  #isMaking = false;
  #isEnded = false;

  constructor(deps: LiveDeps) {
    this.#deps = deps;
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  /** @throws Problem when there are too many listeners, or no more are taken. */
  listen(ctx: HttpContext): void {
    if (this.#isEnded || this.#listeners.size >= (this.#deps.most ?? mostListeners)) {
      throw new Problem('unavailable', 'too many pages are open', { headers: { 'Retry-After': '30' } });
    }
    if (ctx.method === 'HEAD') {
      ctx.status = 200;
      ctx.set('Content-Type', 'text/event-stream');
      return;
    }
    const { res: response } = ctx;
    ctx.respond = false;
    response.writeHead(200, {
      ...ctx.response.headers,
      'Content-Type': 'text/event-stream',
      'Cache-Control': 'no-store',
    });
    response.write('retry: 2000\n\n');
    const listener: Listener = { response, sent: new Map(), turnsLeft: turns };
    this.#listeners.add(listener);
    response.on('error', () => {}).once('close', () => this.#leave(listener));
    this.#stopTurns ??= (this.#deps.every ?? everyTwoSeconds)(() => void this.#tell());
    void this.#tell();
  }

  /** Ends every stream, and takes no more. */
  end(): void {
    this.#isEnded = true;
    for (const { response } of this.#listeners) response.end();
  }

  #leave(listener: Listener): void {
    this.#listeners.delete(listener);
    if (this.#listeners.size > 0) return;
    this.#stopTurns?.();
    this.#stopTurns = undefined;
  }

  async #tell(): Promise<void> {
    if (this.#isMaking) return;
    this.#isMaking = true;
    try {
      const regions = Object.entries(await this.#deps.regions()).map(([region, { text }]) => [region, text] as const);
      for (const listener of this.#listeners) send(listener, regions);
    } catch {
      for (const { response } of this.#listeners) if (!response.writableNeedDrain) response.write(': nothing new\n\n');
    } finally {
      this.#isMaking = false;
    }
  }
}

function send(listener: Listener, regions: readonly (readonly [string, string])[]): void {
  const { response, sent } = listener;
  listener.turnsLeft -= 1;
  if (listener.turnsLeft <= -turnsToEnd) response.destroy();
  if (listener.turnsLeft < 0 && !response.writableEnded) response.end();
  if (response.writableNeedDrain || response.writableEnded) return;
  const changed = regions.filter(([region, text]) => sent.get(region) !== text);
  for (const [region, text] of changed) sent.set(region, text);
  response.write(`data: ${JSON.stringify(Object.fromEntries(changed))}\n\n`);
  if (listener.turnsLeft === 0) response.end();
}

function everyTwoSeconds(tell: () => void): () => void {
  const timer = setInterval(tell, everyMs);
  return () => clearInterval(timer);
}
