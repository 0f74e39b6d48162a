import { OciError, UpstreamError } from '../../oci/errors.ts';
import type { ByteSource } from '../ports/byte-source.ts';
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

/** The disk fails to read what is cached; it counts as absent from now on, so that whoever asks again gets it from the upstream. */
export class UnreadableContent extends UpstreamError {
  constructor(cause: unknown) {
    super('unavailable', 'what is cached could not be read', { cause });
  }
}

/** A source that tells when the disk fails under it. What was to be sent is then cut: it is no bug, and no end of the content. */
export function tellingOfDisk(source: ByteSource, onUnreadable: (cause: unknown) => void): ByteSource {
  return {
    read: async (into, position) => {
      try {
        return await source.read(into, position);
      } catch (cause) {
        if (cause instanceof OciError || cause instanceof UpstreamError) throw cause;
        onUnreadable(cause);
        throw new UnreadableContent(cause);
      }
    },
    ...(source.borrow && { borrow: source.borrow.bind(source) }),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}
