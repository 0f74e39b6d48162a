import { readFile } from 'node:fs/promises';
import { reasonOf } from './interpolate.ts';
import type { Secret } from './values.ts';

/** What a file holds, without its last line break. @throws Error that names the file, and nothing of what is in it. */
export async function readText(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).replace(/\r?\n$/, '');
  } catch (cause) {
    throw new Error(`${path} cannot be read: ${reasonOf(cause)}`, { cause });
  }
}

/**
 * Reads a secret as it is now: one that stands in a file may have rotated since.
 * @throws Error when its file cannot be read, is empty, or holds what would end a header line early (CVE-2023-23936).
 */
export async function readSecret(secret: Secret): Promise<string> {
  if (secret.kind === 'text') return secret.text;
  const text = await readText(secret.path);
  if (text === '') throw new Error(`${secret.path} is empty`);
  if (/\p{Cc}/u.test(text)) throw new Error(`${secret.path} holds more than one line`);
  return text;
}
