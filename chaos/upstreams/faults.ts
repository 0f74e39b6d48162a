import type { Answer, Fault } from '../../test/support/fake-answer.ts';
import { gate } from '../../test/support/gate.ts';
import type { Dice } from '../dice.ts';

/** The faults of an upstream. */
export const faultKinds = [
  'silent',
  'stalled',
  'cut',
  'dropped',
  'wrong bytes',
  'one byte flipped',
  'too short',
  'too long',
  'length too large',
  'length too small',
  'another range',
  'refused',
  'rate limited',
  'server error',
] as const;
export type FaultKind = (typeof faultKinds)[number];

/** The faults that apply to a HEAD. A wrong length is not one of them, because the mirror could not detect it. */
const kindsForHead: ReadonlySet<FaultKind> = new Set(['silent', 'dropped', 'refused', 'rate limited', 'server error']);

export function strikes(kind: FaultKind, method: string | undefined): boolean {
  return method !== 'HEAD' || kindsForHead.has(kind);
}

/** One fault of a kind, at a random position in the body. */
export function faultOf(kind: FaultKind, honest: Answer, dice: Dice): Fault {
  const size = honest.body.length;
  switch (kind) {
    case 'silent':
      return { holdHeaders: gate() };
    case 'stalled':
      return { holdBody: { afterBytes: dice.below(size), until: gate() } };
    case 'cut':
      return { cutAfterBytes: dice.below(size) };
    case 'dropped':
      return { dropConnection: true };
    case 'wrong bytes':
      return { body: (body) => Buffer.alloc(body.length, 'wrong') };
    case 'one byte flipped':
      return { body: (body) => flipped(body, dice.below(size)) };
    case 'too short':
      return { body: (body) => body.subarray(0, dice.below(size)) };
    case 'too long':
      return { body: (body) => Buffer.concat([body, Buffer.alloc(1 + dice.below(1_000))]) };
    case 'length too large':
      return { contentLength: size + 1 + dice.below(10_000) };
    case 'length too small':
      return { contentLength: dice.below(size) };
    case 'another range':
      return { status: 206, headers: { 'content-range': `bytes 5-${4 + size}/${5 + size}` }, body: (body) => body };
    case 'refused':
      return { status: dice.pick([401, 403]) };
    case 'rate limited':
      return { status: 429, headers: { 'retry-after': '1' } };
    case 'server error':
      return { status: dice.pick([500, 502, 503, 504]) };
  }
}

function flipped(body: Buffer, at: number): Buffer {
  const bytes = Buffer.from(body);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 0x40, at);
  return bytes;
}
