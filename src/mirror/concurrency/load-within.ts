import type { Memory } from '../ports/memory.ts';
import type { Waiting } from '../ports/waiting.ts';

/** What is smaller is loaded at once: the number of requests bounds it. */
const smallBytes = 64 * 1024;

/**
 * Loads something of so many bytes once memory has room for it. Whoever asked counts it as its own by the next turn of the event loop:
 * until then it counts here.
 * @throws UpstreamError busy when too many wait for memory; the signal's reason when it aborts; what `load` does.
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
