import { destination, type Logger, pino } from 'pino';

export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';

export interface Log {
  readonly logger: Logger;
  /** A line of the access log, at level info. */
  request(line: object): void;
  /** Writes out what has gathered. */
  flush(): void;
  /** Stops the timer that flushes, and writes out the rest. */
  close(): void;
}

/** How long a line may wait to be written together with others. */
const flushEveryMs = 500;

/**
 * JSON lines on stdout, gathered and written together. Nothing that is logged may hold a secret: there are no headers, no queries and no
 * URLs of redirects in it, so there is nothing to redact.
 */
export function createLog({ level }: { readonly level: LogLevel }): Log {
  const stream = destination({ fd: 1, sync: false, minLength: 8 * 1024 });
  const logger = pino({ level, base: null, timestamp: isoTimes() }, stream);
  let isOpen = false;
  stream.once('ready', () => {
    isOpen = true;
  });
  const flush = () => {
    if (isOpen) stream.flushSync();
  };
  const timer = setInterval(() => stream.flush(), flushEveryMs).unref();
  return {
    logger,
    request: requestLines(logger, (text) => stream.write(text)),
    flush,
    close: () => {
      clearInterval(timer);
      flush();
    },
  };
}

/** Lines as pino writes them; but pino goes through a line value by value, and this is what every request costs. */
export function requestLines(logger: Logger, write: (text: string) => unknown): Log['request'] {
  const time = isoTimes();
  return (line) => {
    if (!logger.isLevelEnabled('info')) return;
    write(`{"level":30${time()},${JSON.stringify(line).slice(1, -1)},"msg":"request"}\n`);
  };
}

/** `,"time":"2030-01-01T00:00:00.000Z"`; many lines fall into one millisecond, and share its text. */
function isoTimes(): () => string {
  let lastMs = Number.NaN;
  let text = '';
  return () => {
    const nowMs = Date.now();
    if (nowMs !== lastMs) text = `,"time":"${new Date(nowMs).toISOString()}"`;
    lastMs = nowMs;
    return text;
  };
}
