import { once } from 'node:events';
import { destination, type Logger, type LoggerOptions, pino } from 'pino';
import { timeLimited } from '../mirror/concurrency/abortable-wait.ts';
import { type Line, RepeatedLines } from './repeated-lines.ts';

export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';

export interface Log {
  readonly logger: Logger;
  /** How many lines were dropped because the reader of stdout does not keep up. */
  readonly droppedLines: number;
  /** A line of the access log, at level info. */
  request(line: object): void;
  /** Starts writing the buffered lines. */
  flush(): void;
  /** Writes buffered lines for a moment at most, and drops the rest. Later lines are dropped. */
  close(): Promise<void>;
}

export interface LogOptions {
  readonly level: LogLevel;
  /** The trace of the request that runs now, for every line. */
  readonly traceId?: (() => string | undefined) | undefined;
  /** The id of this replica, in every line. */
  readonly replica?: string | undefined;
  /** Where the lines go: stdout, where absent. */
  readonly fd?: number;
}

/** How long a line is buffered at most. */
const flushEveryMs = 500;
const closeWithinMs = 500;
/** Lines are gathered into pieces of this size: a call for each line would cost as much as the line. */
const pieceLength = 32 * 1024;
/** The most bytes that are buffered for a stalled reader; further pieces are dropped. */
export const maxHeldLogBytes = 1024 * 1024;

/**
 * JSON lines on stdout, buffered and written together. Logging never waits for the reader of stdout: lines for a stalled reader are buffered
 * up to a bound, and further lines are dropped and counted. Repeated lines are limited too. No headers, queries or redirect URLs are logged,
 * so there is nothing to redact.
 */
export function createLog({ level, replica, traceId, fd = 1 }: LogOptions): Log {
  const pieces = { minLength: pieceLength / 2, maxWrite: 2 * pieceLength, maxLength: maxHeldLogBytes };
  const stream = destination({ fd, sync: false, ...pieces });
  const state = { droppedLines: 0, isClosed: false, gathered: '' };
  stream.on('drop', (piece: string) => (state.droppedLines += piece.split('\n').length - 1));
  stream.on('error', () => {}); // A full disk or a closed pipe must not stop the mirror.
  const passOn = (): void => {
    if (state.gathered !== '') stream.write(state.gathered);
    state.gathered = '';
  };
  const write = (text: string): void => {
    if (state.isClosed) return;
    state.gathered += text;
    if (state.gathered.length >= pieceLength) passOn();
  };
  const flush = (): void => {
    if (state.isClosed) return;
    passOn();
    stream.flush();
  };
  const repeated = new RepeatedLines();
  const logger = createLogger({ level, replica, traceId, repeated }, write);
  const timer = setInterval(flush, flushEveryMs).unref();
  return {
    logger,
    get droppedLines() {
      return state.droppedLines;
    },
    request: requestLines(logger, write, replica),
    flush,
    close: async () => {
      clearInterval(timer);
      if (state.isClosed) return;
      repeated.flush();
      passOn();
      state.isClosed = true;
      const closed = once(stream, 'close');
      stream.end();
      try {
        await timeLimited(closed, closeWithinMs, () => new Error('the log could not be written'));
      } catch {
        stream.destroy(); // Otherwise the process would wait for the reader at exit.
      }
    },
  };
}

/** The logger of everything but requests: lines of one kind are bounded. */
export function createLogger(
  {
    level,
    replica,
    traceId,
    repeated,
  }: Pick<LogOptions, 'level' | 'replica' | 'traceId'> & { readonly repeated: RepeatedLines },
  write: (text: string) => void,
): Logger {
  const hooks: LoggerOptions['hooks'] = {
    logMethod(args, method, levelNumber) {
      const line = lineOf(args);
      const writeLine = (summary: object, text: string) => method.apply(this, [summary, text]);
      if (repeated.admits(levelNumber, line, writeLine)) method.apply(this, args);
    },
  };
  const base = replica === undefined ? null : { replica };
  const mixin = traceId && { mixin: () => ({ traceId: traceId() }) };
  return pino({ level, base, timestamp: isoTimes(), hooks, ...mixin }, { write });
}

/** Of what pino's methods are called with: fields and a message, or a message alone. */
function lineOf([first, second]: readonly unknown[]): Line {
  const fields = typeof first === 'object' && first !== null ? { ...first } : {};
  return { fields, message: [first, second].filter((part) => typeof part === 'string').join(' ') };
}

/** Writes the same line as pino would, but faster, because it is written for every request. */
export function requestLines(logger: Logger, write: (text: string) => unknown, replica?: string): Log['request'] {
  const time = isoTimes();
  const named = replica === undefined ? '' : `,"replica":${JSON.stringify(replica)}`;
  return (line) => {
    if (!logger.isLevelEnabled('info')) return;
    write(`{"level":30${time()}${named},${JSON.stringify(line).slice(1, -1)},"msg":"request"}\n`);
  };
}

/** `,"time":"2030-01-01T00:00:00.000Z"`. Lines of the same millisecond share the text. */
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
