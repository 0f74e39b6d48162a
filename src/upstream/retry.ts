import type { Send } from './exchange.ts';
import { isLostConnection } from './network-errors.ts';

/**
 * Sends once more when a kept connection turned out to be closed: a server may close it in the moment in which we use it again
 * (RFC 9112 §9.3.1). GET and HEAD only; every other failure is the caller's to judge.
 */
export function retryingLostConnections(send: Send): Send {
  return async (exchange, options) => {
    try {
      return await send(exchange, options);
    } catch (cause) {
      if (exchange.method === 'POST' || options.signal.aborted || !isLostConnection(cause)) throw cause;
      return send(exchange, options);
    }
  };
}
