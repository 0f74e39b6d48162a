import { expect, test } from 'vitest';
import { Link, LinkedList } from '../../../../src/http/server/exchange.ts';

function listOf(...items: readonly string[]) {
  const list = new LinkedList<string>();
  const links = new Map(items.map((item) => [item, new Link(item)]));
  for (const link of links.values()) list.append(link);
  const remove = (item: string) => list.remove(links.get(item) ?? new Link(item));
  return { list, links, remove };
}

test.each([
  [['a'], ['b', 'c']],
  [['b'], ['a', 'c']],
  [['c'], ['a', 'b']],
  [['a', 'b', 'c'], []],
  [['c', 'a', 'c'], ['b']],
])('without %j the others keep their order', (removed, left) => {
  const { list, remove } = listOf('a', 'b', 'c');
  for (const item of removed) remove(item);
  expect([...list]).toEqual(left);
  expect(list.first?.item).toBe(left[0]);
});

test('an item that comes again is the last', () => {
  const { list, links, remove } = listOf('a', 'b', 'c');
  remove('a');
  for (const link of [links.get('a')].flatMap((found) => found ?? [])) list.append(link);
  expect([...list]).toEqual(['b', 'c', 'a']);
});

test('a removed item holds no later one: a request that is over keeps no other in memory', () => {
  const { links, remove } = listOf('a', 'b', 'c');
  remove('b');
  expect(links.get('b')).toMatchObject({ before: undefined, after: undefined });
  expect(links.get('a')?.after).toBe(links.get('c'));
});
