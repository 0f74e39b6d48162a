import { expect, test } from 'vitest';
import { bySpecificity, namePatternMatcher } from '../../../src/upstream/name-pattern.ts';
import { hostName } from '../../support/host-name.ts';

test.each([
  { pattern: '*.gcr.io', name: 'eu.gcr.io', expected: true },
  { pattern: '*.gcr.io', name: 'gcr.io', expected: false },
  { pattern: '*.gcr.io', name: 'a.b.gcr.io', expected: false },
  { pattern: '*.gcr.io', name: 'eu.gcr.io:5000', expected: false },
  { pattern: '*.gcr.io', name: 'eu.gcrXio', expected: false },
  { pattern: '*.gcr.io', name: 'eu.gcr.io.evil.example', expected: false },
  { pattern: '*.corp.example:5000', name: 'a.corp.example:5000', expected: true },
  { pattern: '*.dkr.ecr.*.amazonaws.com', name: '123456789012.dkr.ecr.eu-west-1.amazonaws.com', expected: true },
  { pattern: '*.dkr.ecr.*.amazonaws.com', name: '1.dkr.ecr.eu.west.amazonaws.com', expected: false },
  { pattern: '**', name: 'any.host.example:5000', expected: true },
  { pattern: '**.example', name: 'any.host.example', expected: true },
  { pattern: '**', name: '[::1]', expected: false },
  { pattern: '**', name: '0x7f.1', expected: false },
  { pattern: '**', name: '1.2.3.999', expected: false },
  { pattern: '**', name: 'host.example:99999', expected: false },
])('$pattern admits "$name": $expected', ({ pattern, name, expected }) => {
  expect(namePatternMatcher(pattern)(hostName(name))).toBe(expected);
});

test('longer patterns come first', () => {
  expect(['**', '*.gcr.io', '*.eu.gcr.io'].toSorted(bySpecificity)).toEqual(['*.eu.gcr.io', '*.gcr.io', '**']);
});
