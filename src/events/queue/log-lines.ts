import { crc32 } from 'node:zlib';
import { parseJsonObject } from '../../oci/json.ts';

/** A place in the log of events. */
export interface Position {
  readonly segment: number;
  readonly offset: number;
}

/** An event as the log has it. */
export interface LoggedEvent {
  readonly id: string;
  readonly type: string;
  readonly timeMs: number;
  readonly json: string;
  readonly position: Position;
  /** Where the next one begins. */
  readonly end: Position;
}

export interface DecodedLines {
  readonly events: readonly LoggedEvent[];
  /** Lines that are not what was written. */
  readonly damaged: number;
  /** Where the first line begins that is not whole. */
  readonly end: Position;
}

const lineBreak = 0x0a;

/** A line of a segment: the CRC-32 of the event's JSON, and the JSON, which has no line breaks. Pure. */
export function lineOf(json: string): Buffer {
  return Buffer.from(`${checksumOf(json)} ${json}\n`);
}

/** The events in a piece of a segment that begins at `from`, and how many lines are damaged. Pure. */
export function decodedLines(bytes: Buffer, from: Position): DecodedLines {
  const events: LoggedEvent[] = [];
  let [begin, damaged] = [0, 0];
  for (let end = bytes.indexOf(lineBreak); end !== -1; end = bytes.indexOf(lineBreak, begin)) {
    const at = (offset: number) => ({ segment: from.segment, offset: from.offset + offset });
    const event = eventIn(bytes.toString('utf8', begin, end));
    if (event === undefined) damaged += 1;
    else events.push({ ...event, position: at(begin), end: at(end + 1) });
    begin = end + 1;
  }
  return { events, damaged, end: { segment: from.segment, offset: from.offset + begin } };
}

/** Pure. */
export function isBefore(one: Position, other: Position): boolean {
  return one.segment < other.segment || (one.segment === other.segment && one.offset < other.offset);
}

function eventIn(line: string): Omit<LoggedEvent, 'position' | 'end'> | undefined {
  const [checksum, json] = [line.slice(0, 8), line.slice(9)];
  if (line[8] !== ' ' || checksum !== checksumOf(json)) return undefined;
  const { id, type, time } = parseJsonObject(json) ?? {}; // Its checksum is right.
  if (typeof id !== 'string' || typeof type !== 'string' || typeof time !== 'string') return undefined;
  return { id, type, timeMs: Date.parse(time), json };
}

function checksumOf(json: string): string {
  return crc32(json).toString(16).padStart(8, '0');
}
