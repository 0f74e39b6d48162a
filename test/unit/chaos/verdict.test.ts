import { expect, test } from 'vitest';
import type { Answered } from '../../../chaos/clients/ask.ts';
import { type Circumstances, verdictOn } from '../../../chaos/clients/verdict.ts';
import { digestOf } from '../../../src/oci/digest.ts';

const bytes = Buffer.from('a layer');
const digest = digestOf(bytes);
const whole: Answered = {
  end: 'complete',
  status: 200,
  headers: { 'docker-content-digest': digest },
  digest,
  bytes: bytes.length,
  beginning: bytes,
  fromMs: 0,
  toMs: 1,
};
const usual: Circumstances = {
  expected: { kind: 'whole', digests: new Set([digest]) },
  wasAbsent: false,
  wasStarved: false,
  isSafe: false,
  isHealthy: false,
};

function failure(status: number, body = '{"errors":[{"code":"UNAVAILABLE","message":"no"}]}'): Answered {
  const beginning = Buffer.from(body);
  return { ...whole, status, headers: {}, digest: digestOf(beginning), bytes: beginning.length, beginning };
}

const wrong = Buffer.from('b layer');

test.each<{ what: string; answer: Answered; in?: Partial<Circumstances>; word: string }>([
  { what: 'the right bytes', answer: whole, word: 'right' },
  { what: 'wrong bytes', answer: { ...whole, digest: digestOf(wrong), beginning: wrong }, word: 'violation' },
  { what: 'right bytes under another digest', answer: { ...whole, headers: {} }, word: 'violation' },
  { what: 'an honest failure', answer: failure(503), word: 'failed' },
  { what: 'an honest failure of what was cached', answer: failure(503), in: { isSafe: true }, word: 'violation' },
  {
    what: 'an honest failure of what was cached, without descriptors',
    answer: failure(503),
    in: { isSafe: true, wasStarved: true },
    word: 'failed',
  },
  { what: 'a bug', answer: failure(500), word: 'violation' },
  { what: 'a failure without an error of the spec', answer: failure(502, '<html>'), word: 'violation' },
  { what: '404 for what is there', answer: failure(404), word: 'violation' },
  { what: '404 for what is not', answer: failure(404), in: { expected: { kind: 'absent' } }, word: 'right' },
  { what: 'something for what is not there', answer: whole, in: { expected: { kind: 'absent' } }, word: 'violation' },
  { what: '429 without a time', answer: failure(429), word: 'violation' },
  { what: 'a cut', answer: { ...whole, end: 'cut' }, word: 'failed' },
  { what: 'a cut of what was cached', answer: { ...whole, end: 'cut' }, in: { isSafe: true }, word: 'violation' },
  {
    what: 'a cut by a mirror that was killed',
    answer: { ...whole, end: 'cut' },
    in: { isSafe: true, wasAbsent: true },
    word: 'failed',
  },
  { what: 'a failure of a healthy registry', answer: failure(503), in: { isHealthy: true }, word: 'violation' },
  { what: 'a cut of a healthy registry', answer: { ...whole, end: 'cut' }, in: { isHealthy: true }, word: 'violation' },
  {
    what: 'a late answer of a healthy registry',
    answer: { ...whole, toMs: 5_001 },
    in: { isHealthy: true },
    word: 'violation',
  },
  {
    what: 'an answer of a healthy registry in time',
    answer: { ...whole, toMs: 4_999 },
    in: { isHealthy: true },
    word: 'right',
  },
  {
    what: 'a late answer of a healthy registry by a mirror that was killed',
    answer: { ...whole, toMs: 5_001 },
    in: { isHealthy: true, wasAbsent: true },
    word: 'right',
  },
  { what: 'silence', answer: { ...whole, end: 'hung', status: 0 }, word: 'violation' },
  { what: 'what the client left', answer: { ...whole, end: 'left' }, word: 'right' },
])('$what gets the verdict: $word', ({ answer, in: circumstances = {}, word }) => {
  expect(verdictOn(answer, { ...usual, ...circumstances }).word).toBe(word);
});

test('a part must match the requested range, or be the whole', () => {
  const expected = { kind: 'part', bytes: bytes.subarray(2, 5), contentRange: 'bytes 2-4/7', whole: digest } as const;
  const part = { ...whole, status: 206, headers: { 'content-range': 'bytes 2-4/7' }, beginning: bytes.subarray(2, 5) };
  expect(verdictOn(part, { ...usual, expected }).word).toBe('right');
  expect(verdictOn({ ...part, beginning: bytes.subarray(1, 4) }, { ...usual, expected }).word).toBe('violation');
  expect(verdictOn({ ...whole }, { ...usual, expected }).word).toBe('right');
  expect(verdictOn({ ...whole, digest: digestOf(wrong) }, { ...usual, expected }).word).toBe('violation');
});
