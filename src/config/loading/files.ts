import { readFile } from 'node:fs/promises';
import { reasonOf } from './interpolate.ts';
import type { Secret } from '../sections/values.ts';

/** What a file holds, without its last line break. @throws Error that names the file, and nothing of what is in it. */
export async function readText(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).replace(/\r?\n$/, '');
  } catch (cause) {
    throw new Error(`${path} cannot be read: ${reasonOf(cause)}`, { cause });
  }
}

async function readFilled(path: string): Promise<string> {
  const text = await readText(path);
  if (text === '') throw new Error(`${path} is empty`);
  return text;
}

/**
 * Reads a secret as it is now: one that stands in a file may have rotated since.
 * @throws Error when its file cannot be read, is empty, or holds what would end a header line early (CVE-2023-23936).
 */
export async function readSecret(secret: Secret): Promise<string> {
  if (secret.kind === 'text') return secret.text;
  const text = await readFilled(secret.path);
  if (/\p{Cc}/u.test(text)) throw new Error(`${secret.path} holds more than one line`);
  return text;
}

/** The user under which Google's registries take a service account's key as it is downloaded: many lines of JSON. */
const jsonKeyUser = '_json_key';

/**
 * The password of a user, as it is now. It travels in base64, so that the lines of Google's key end no header early.
 * @throws Error as {@link readSecret} does.
 */
export async function readPassword(username: string, password: Secret): Promise<string> {
  return password.kind === 'file' && username === jsonKeyUser ? readFilled(password.path) : readSecret(password);
}
