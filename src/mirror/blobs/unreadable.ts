import { OciError, UpstreamError } from '../../oci/errors.ts';
import type { ByteSource } from '../ports/byte-source.ts';
import type { Observer } from '../ports/observer.ts';
import type { RecordStore } from '../ports/record-store.ts';

/** Runs a read. @returns undefined if the disk fails, which is reported: the upstream may be asked instead. */
export async function unlessUnreadable<Value>(
  observer: Pick<Observer, 'internalError'>,
  part: string,
  read: () => Promise<Value | undefined>,
): Promise<Value | undefined> {
  try {
    return await read();
  } catch (cause) {
    observer.internalError({ part, cause });
    return undefined;
  }
}

/** Records, where one that cannot be read counts as never written. */
export function withoutUnreadable(records: RecordStore, observer: Pick<Observer, 'internalError'>): RecordStore {
  return {
    read: (key) => unlessUnreadable(observer, 'records', () => records.read(key)),
    write: (key, value) => records.write(key, value),
    remove: (key) => records.remove(key),
    list: () => records.list(),
    use: () => records.use(),
  };
}

/** The disk failed while cached content was sent. It counts as missing from now on, so that the next request gets it from the upstream. */
export class UnreadableContent extends UpstreamError {
  constructor(cause: unknown) {
    super('unavailable', 'what is cached could not be read', { cause });
  }
}

/** A source that reports failures of the disk. The answer is then cut. */
export function reportingDiskFailures(source: ByteSource, report: (cause: unknown) => void): ByteSource {
  return {
    read: async (into, position) => {
      try {
        return await source.read(into, position);
      } catch (cause) {
        if (cause instanceof OciError || cause instanceof UpstreamError) throw cause;
        report(cause);
        throw new UnreadableContent(cause);
      }
    },
    ...(source.borrow && { borrow: source.borrow.bind(source) }),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}
