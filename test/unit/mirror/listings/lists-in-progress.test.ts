import { expect, test } from 'vitest';
import { ListsInProgress } from '../../../../src/mirror/listings/lists-in-progress.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { gate } from '../../../support/gate.ts';

const unlimited = { signal: new AbortController().signal };
const wanted = { last: undefined, limit: 1 };
const at = (upstream: string) => ({ upstream, repository: parseRepository('team/app') });
const pageOf = (...tags: readonly string[]) => ({ tags, isFirst: true, hasNext: true });

/** Whether a client's page is known while a list that begins with `a`, `b` is being fetched. */
async function isAnswered(lists: ListsInProgress, upstream: string): Promise<boolean> {
  const leaving = new AbortController();
  return lists.during(at(upstream), async (onPage) => {
    onPage(pageOf('a', 'b'));
    const answered = lists.page(at(upstream), wanted, leaving).then(
      () => true,
      () => false,
    );
    setImmediate(() => leaving.abort());
    return answered;
  });
}

test('a client that waits before the list has begun gets its page once it is known; clients of another repository do not', async () => {
  const lists = new ListsInProgress();
  const leaving = new AbortController();
  const page = lists.page(at('a.test'), wanted, unlimited);
  const other = lists.page(at('b.test'), wanted, leaving);
  const end = gate();
  const fetched = lists.during(at('a.test'), async (onPage) => {
    onPage(pageOf('a', 'b'));
    await end.opened;
  });
  expect(await page).toEqual({ tags: ['a'], hasMore: true });
  leaving.abort(new Error('left'));
  await expect(other).rejects.toThrow('left');
  end.open();
  await fetched;
});

test('a list that is no longer fetched answers no client, also after a failure', async () => {
  const lists = new ListsInProgress();
  const failed = lists.during(at('a.test'), async (onPage) => {
    onPage(pageOf('a', 'b'));
    throw new Error('broke off');
  });
  await expect(failed).rejects.toThrow('broke off');
  const leaving = new AbortController();
  const page = lists.page(at('a.test'), wanted, leaving);
  leaving.abort(new Error('left'));
  await expect(page).rejects.toThrow('left');
});

test('the last thousand upstreams that send tags out of order are remembered', async () => {
  const lists = new ListsInProgress();
  expect(await isAnswered(lists, 'u0.test')).toBe(true);
  for (let number = 0; number <= 1_000; number += 1) {
    await lists.during(at(`u${number}.test`), async (onPage) => onPage(pageOf('b', 'a')));
  }
  expect(await isAnswered(lists, 'u1000.test')).toBe(false);
  expect(await isAnswered(lists, 'u1.test')).toBe(false);
  expect(await isAnswered(lists, 'u0.test')).toBe(true);
});
