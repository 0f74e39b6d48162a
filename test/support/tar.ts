const block = 512;

/** A tar archive (POSIX ustar) of plain files: the same files make the same bytes. */
export function tar(files: Readonly<Record<string, string | Uint8Array>>): Buffer {
  const entries = Object.entries(files).flatMap(([path, content]) => entry(path, Buffer.from(content)));
  return Buffer.concat([...entries, Buffer.alloc(2 * block)]);
}

function entry(path: string, content: Buffer): Buffer[] {
  return [header(path, content.length), content, Buffer.alloc((block - (content.length % block)) % block)];
}

/** IEEE Std 1003.1, "ustar Interchange Format": the checksum is summed with its own field full of spaces. */
function header(path: string, size: number): Buffer {
  const bytes = Buffer.alloc(block);
  bytes.write(path, 0, 100);
  bytes.write('0000644\0', 100);
  bytes.write('0000000\0', 108);
  bytes.write('0000000\0', 116);
  bytes.write(`${octal(size, 11)}\0`, 124);
  bytes.write(`${octal(0, 11)}\0`, 136);
  bytes.write(' '.repeat(8), 148);
  bytes.write('0', 156);
  bytes.write('ustar\x0000', 257);
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  bytes.write(`${octal(sum, 6)}\0 `, 148);
  return bytes;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0');
}
