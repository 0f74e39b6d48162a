import type { Observer } from '../ports/observer.ts';
import type { RecordStore } from '../ports/record-store.ts';

/** What the disk cannot tell is not known: the upstream may. Operators are told. */
export async function unlessUnreadable<Value>(
  observer: Pick<Observer, 'trouble'>,
  part: string,
  read: () => Promise<Value | undefined>,
): Promise<Value | undefined> {
  try {
    return await read();
  } catch (cause) {
    observer.trouble({ part, cause });
    return undefined;
  }
}

/** Records of which those that cannot be read count as never written. */
export function withoutUnreadable(records: RecordStore, observer: Pick<Observer, 'trouble'>): RecordStore {
  return {
    read: (key) => unlessUnreadable(observer, 'records', () => records.read(key)),
    write: (key, value) => records.write(key, value),
    remove: (key) => records.remove(key),
    list: () => records.list(),
    use: () => records.use(),
  };
}
