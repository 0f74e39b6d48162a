import type { Memory } from '../ports/memory.ts';
import type { Waiting } from '../ports/waiting.ts';

/** Anything up to this size is loaded without a reservation: the number of requests bounds it. */
const smallBytes = 64 * 1024;

/**
 * Loads something of `bytes` bytes once the memory budget has room for it. The reservation ends in the turn of the event loop after loading:
 * by then the caller must have a reservation of its own.
 * @throws UpstreamError busy when too many wait for memory; the signal's reason when it aborts; what `load` throws.
 */
export async function loadWithin<Value>(
  memory: Memory,
  bytes: number,
  waiting: Waiting,
  load: () => Promise<Value>,
): Promise<Value> {
  if (bytes <= smallBytes) return load();
  const reservation = await memory.reserve(bytes, waiting);
  try {
    return await load();
  } finally {
    setImmediate(() => reservation.release());
  }
}
