import { OciError, UpstreamError } from '../oci/errors.ts';
import type { ByteSource } from './ports.ts';

/** A source that tells when the disk fails under it. What was to be sent is then cut: it is no bug, and no end of the content. */
export function tellingOfDisk(source: ByteSource, onUnreadable: (cause: unknown) => void): ByteSource {
  return {
    read: async (into, position) => {
      try {
        return await source.read(into, position);
      } catch (cause) {
        if (cause instanceof OciError || cause instanceof UpstreamError) throw cause;
        onUnreadable(cause);
        throw new UpstreamError('unavailable', 'what is cached could not be read', { cause });
      }
    },
    ...(source.lend && { lend: source.lend.bind(source) }),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}
