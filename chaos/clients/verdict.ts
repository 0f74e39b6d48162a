import type { Digest } from '../../src/oci/digest.ts';
import type { Answered } from './ask.ts';

/** What a complete, successful response must contain. */
export type Expected =
  | { readonly kind: 'whole'; readonly digests: ReadonlySet<Digest> }
  | { readonly kind: 'part'; readonly bytes: Buffer; readonly contentRange: string; readonly whole: Digest }
  | { readonly kind: 'headers'; readonly digests: ReadonlySet<Digest>; readonly sizes: ReadonlySet<number> }
  | { readonly kind: 'absent' };

export interface Circumstances {
  readonly expected: Expected;
  /** The mirror was killed during the request. */
  readonly wasAbsent: boolean;
  /** The mirror could not open files and sockets for a while. It may fail then, but not send wrong data. */
  readonly wasStarved: boolean;
  /** It was cached before the first fault, and has not been damaged since. */
  readonly isSafe: boolean;
  /** Its registry never fails: the request must succeed in time. */
  readonly isHealthy: boolean;
  /** A client of a healthy registry must have the whole response within this time; by default 5 s. */
  readonly healthyWithinMs?: number | undefined;
}

const usuallyWithinMs = 5_000;

/** `right`, an acceptable failure, or a broken promise. */
export type Verdict =
  | { readonly word: 'right' }
  | { readonly word: 'failed'; readonly how: string }
  | { readonly word: 'violation'; readonly why: string };

/** 403: an upstream refused an anonymous request. The others are the true statuses of upstream failures. */
const honestFailures: ReadonlySet<number> = new Set([403, 429, 502, 503, 504]);

/** Checks one response. Pure. */
export function verdictOn(answer: Answered, circumstances: Circumstances): Verdict {
  const { isHealthy, wasAbsent, wasStarved, healthyWithinMs = usuallyWithinMs } = circumstances;
  const verdict = verdictOnContent(answer, circumstances);
  if (!isHealthy || wasAbsent || wasStarved || verdict.word === 'violation') return verdict;
  if (verdict.word === 'failed') return violation(`a healthy registry's client was failed: ${verdict.how}`);
  const seconds = (answer.toMs - answer.fromMs) / 1_000;
  if (seconds > healthyWithinMs / 1_000) return violation(`a healthy registry's client waited ${seconds.toFixed(1)} s`);
  return verdict;
}

function verdictOnContent(
  answer: Answered,
  { expected, wasAbsent, wasStarved, ...more }: Omit<Circumstances, 'isHealthy'>,
): Verdict {
  const isSafe = more.isSafe && !wasStarved;
  if (answer.end === 'left') return { word: 'right' };
  if (answer.end === 'complete') return onComplete(answer, expected, isSafe);
  if (wasAbsent) return { word: 'failed', how: 'the mirror was killed' };
  if (answer.end === 'hung') return violation(`nothing came for too long (status ${answer.status})`);
  if (isSafe) return violation(`what was cached was ${answer.end} after ${answer.bytes} bytes (${answer.status})`);
  const how = answer.end === 'cut' ? 'cut' : 'cut before the headers';
  return { word: 'failed', how: wasStarved ? `${how}, without descriptors` : how };
}

function onComplete(answer: Answered, expected: Expected, isSafe: boolean): Verdict {
  const { status } = answer;
  if (status === 200 || status === 206) return onSuccess(answer, expected);
  const told = expected.kind === 'headers' ? 'HEAD' : codeIn(answer);
  if (told === undefined)
    return violation(`status ${status} without an error of the spec: ${answer.beginning.toString()}`);
  if (status === 404 && expected.kind === 'absent') return { word: 'right' };
  if (!honestFailures.has(status)) return violation(`status ${status} (${told})`);
  if (isSafe) return violation(`what was cached was answered ${status} (${answer.beginning.toString()})`);
  if (status === 429 && answer.headers['retry-after'] === undefined) return violation('429 without Retry-After');
  return { word: 'failed', how: `${status} ${told}` };
}

function onSuccess(answer: Answered, expected: Expected): Verdict {
  const { status, digest, headers } = answer;
  switch (expected.kind) {
    case 'absent':
      return violation(`status ${status} for what is not there`);
    case 'headers': {
      const isRight = expected.sizes.has(Number(headers['content-length'])) && isNamed(headers, expected.digests);
      return isRight ? { word: 'right' } : violation(`wrong headers: ${JSON.stringify(headers)}`);
    }
    case 'part':
      // A range may be ignored (RFC 9110 §14.2). The mirror does so when it cannot verify a part.
      if (status === 200) return digest === expected.whole ? { word: 'right' } : violation(`wrong bytes: ${digest}`);
      if (status !== 206 || headers['content-range'] !== expected.contentRange)
        return violation(`${expected.contentRange} was answered ${status}, ${headers['content-range']}`);
      return expected.bytes.equals(answer.beginning) ? { word: 'right' } : violation('wrong bytes in a part');
    case 'whole':
      if (digest === undefined || !expected.digests.has(digest)) return violation(`wrong bytes: ${digest}`);
      return isNamed(headers, new Set([digest])) ? { word: 'right' } : violation('another digest in the headers');
  }
}

function isNamed(headers: Answered['headers'], digests: ReadonlySet<Digest>): boolean {
  return [...digests].some((digest) => headers['docker-content-digest'] === digest);
}

/** The code of an OCI error body. */
function codeIn({ beginning }: Answered): string | undefined {
  const [, code] = /^\{"errors":\[\{"code":"([A-Z_]+)","message":"[^"]/.exec(beginning.toString()) ?? [];
  return code;
}

function violation(why: string): Verdict {
  return { word: 'violation', why };
}
