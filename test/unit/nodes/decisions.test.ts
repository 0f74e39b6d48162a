import { expect, test } from 'vitest';
import { type Found, removeDecision, writeDecision } from '../../../src/nodes/decisions.ts';
import { headerOf } from '../../../src/nodes/desired-files.ts';

const owner = 'cache/layerwell';
const wanted = `${headerOf(owner)}wanted`;
const found = {
  nothing: { kind: 'nothing' },
  link: { kind: 'other' },
  wanted: { kind: 'text', text: wanted },
  changed: { kind: 'text', text: `${headerOf(owner)}changed` },
  others: { kind: 'text', text: 'theirs' },
  release: { kind: 'text', text: `${headerOf('other/release')}wanted` },
} as const satisfies Record<string, Found>;

test.each([
  ['nothing', 'write', 'write'],
  ['wanted', 'keep', 'keep'],
  ['changed', 'repair', 'repair'],
  ['others', 'refuse', 'take-over'],
  ['release', 'refuse', 'refuse'],
  ['link', 'refuse', 'refuse'],
] as const)('%s: %s, and %s if files of others may be taken over', (kind, careful, told) => {
  expect(writeDecision(found[kind], wanted, { owner, takeOver: false, takeOverFrom: [] })).toBe(careful);
  expect(writeDecision(found[kind], wanted, { owner, takeOver: true, takeOverFrom: [] })).toBe(told);
});

test.each([
  ['release', 'replace'],
  ['others', 'refuse'],
  ['changed', 'repair'],
] as const)('%s, of a release that is gone: %s', (kind, decision) => {
  const ownership = { owner, takeOver: false, takeOverFrom: ['third/release', 'other/release'] };
  expect(writeDecision(found[kind], wanted, ownership)).toBe(decision);
});

test.each([
  ['nothing', 'leave', 'restore'],
  ['wanted', 'remove', 'restore'],
  ['changed', 'remove', 'restore'],
  ['others', 'leave', 'leave'],
  ['release', 'leave', 'leave'],
  ['link', 'leave', 'leave'],
] as const)('%s that is not wanted: %s, and %s with a backup', (kind, without, having) => {
  expect(removeDecision(found[kind], { owner, hasBackup: false })).toBe(without);
  expect(removeDecision(found[kind], { owner, hasBackup: true })).toBe(having);
});
