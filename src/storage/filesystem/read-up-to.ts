/** The first `size` bytes of a source, in memory of their own; fewer where it ends before. */
export async function readUpTo(
  size: number,
  source: { read(into: Uint8Array, position: number): Promise<number> },
): Promise<Buffer> {
  const bytes = Buffer.alloc(size);
  let length = 0;
  while (length < size) {
    const read = await source.read(bytes.subarray(length), length);
    if (read === 0) break;
    length += read;
  }
  return bytes.subarray(0, length);
}
