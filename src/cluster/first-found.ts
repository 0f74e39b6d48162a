import { abortable } from '../mirror/concurrency/abortable-wait.ts';
import { ifAnswered } from '../mirror/ports/other-caches.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';

export interface SearchOptions extends Waiting {
  /** How many places are asked at the same time. */
  readonly together: number;
  /** When all of it ends without a result. */
  readonly withinMs: number;
}

/**
 * Asks places in order, a few at the same time, until one has an answer. The requests to the others are aborted; an answer that comes all the
 * same is dropped.
 * @returns undefined if none has one in time. A place that fails counts as one without an answer.
 * @throws the signal's reason.
 */
export async function firstFound<Place, Value>(
  places: readonly Place[],
  ask: (place: Place, waiting: Waiting) => Promise<Value | undefined>,
  { signal, together, withinMs, drop = () => {} }: SearchOptions & { readonly drop?: (value: Value) => void },
): Promise<Value | undefined> {
  const { promise: found, resolve, reject } = Promise.withResolvers<Value | undefined>();
  found.catch(() => {}); // Awaited below, unless the caller has left.
  const waiting = [...places];
  const running = new Set<AbortController>();
  let isOver = false;
  const end = (): void => {
    isOver = true;
    for (const one of running) one.abort(new Error('another place answered, or time is over'));
  };
  const askInTurn = async (): Promise<void> => {
    for (let place = waiting.shift(); place !== undefined && !isOver; place = waiting.shift()) {
      const value = await askOne(place);
      if (value === undefined) continue;
      if (isOver) return drop(value);
      end();
      resolve(value);
    }
  };
  const askOne = async (place: Place): Promise<Value | undefined> => {
    const own = new AbortController();
    const both = AbortSignal.any([signal, own.signal]);
    running.add(own);
    try {
      return await ifAnswered(() => ask(place, { signal: both }), { signal: both });
    } catch (cause) {
      if (!both.aborted) reject(cause);
      return undefined;
    } finally {
      running.delete(own);
    }
  };
  const timer = setTimeout(() => {
    end();
    resolve(undefined);
  }, withinMs);
  void Promise.all(Array.from({ length: together }, askInTurn)).then(() => resolve(undefined));
  try {
    return await abortable(found, signal);
  } finally {
    clearTimeout(timer);
    end();
  }
}

/**
 * Asks places, a few at the same time, until some of those that were asked together have an answer.
 * @returns all of their answers; none if there is none in time. A place that fails counts as one without an answer.
 * @throws the signal's reason.
 */
export async function someFound<Place, Value>(
  places: readonly Place[],
  ask: (place: Place, waiting: Waiting) => Promise<Value | undefined>,
  { signal, together, withinMs }: SearchOptions,
): Promise<readonly Value[]> {
  const late = AbortSignal.timeout(withinMs);
  const both = AbortSignal.any([signal, late]);
  for (let first = 0; first < places.length && !late.aborted; first += together) {
    const asked = places.slice(first, first + together).map((place) =>
      ifAnswered(() => abortable(ask(place, { signal: both }), both), { signal: both }).catch((cause: unknown) => {
        signal.throwIfAborted();
        if (!late.aborted) throw cause;
        return undefined;
      }),
    );
    const answers = (await Promise.all(asked)).filter((answer) => answer !== undefined);
    if (answers.length > 0) return answers;
  }
  return [];
}
