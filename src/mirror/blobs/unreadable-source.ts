import { OciError, UpstreamError } from '../../oci/errors.ts';
import type { ByteSource } from '../ports/byte-source.ts';

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
    ...(source.lend && { lend: source.lend.bind(source) }),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}
