import { expect, test } from 'vitest';
import { verdictOnPull } from '../../../chaos/clients/real-clients.ts';
import { digestOf } from '../../../src/oci/digest.ts';

const digest = digestOf(Buffer.from('a manifest'));
const usual = { digest, wasAbsent: false, wasStarved: false };
const failure = { failure: 'manifest unknown' };

test.each([
  { what: 'has the right digest', pulled: { digest }, word: 'right' },
  { what: 'has another digest', pulled: { digest: 'sha256:0' }, word: 'violation' },
  {
    what: 'has another digest after the mirror was away',
    pulled: { digest: '' },
    in: { wasAbsent: true },
    word: 'violation',
  },
  { what: 'fails', pulled: failure, word: 'violation' },
  { what: 'fails while the mirror was away', pulled: failure, in: { wasAbsent: true }, word: 'failed' },
  { what: 'fails while the mirror had no descriptors', pulled: failure, in: { wasStarved: true }, word: 'failed' },
])('a real client that $what gets the verdict: $word', ({ pulled, in: circumstances = {}, word }) => {
  expect(verdictOnPull(pulled, { ...usual, ...circumstances }).word).toBe(word);
});
