/** Prints the configuration of the container image: mirror.config.json, but listening on every address and storing in /data. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const shipped: unknown = JSON.parse(readFileSync(join(import.meta.dirname, '..', 'mirror.config.json'), 'utf8'));
const forImage = (key: string, value: unknown): unknown => {
  if (key === '$schema') return undefined;
  if (key === 'host') return '::';
  return key === 'path' ? '/data' : value;
};
process.stdout.write(`${JSON.stringify(shipped, forImage, 2)}\n`);
