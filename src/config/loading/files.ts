import { readFile } from 'node:fs/promises';
import { reasonOf } from './interpolate.ts';
import type { Secret } from '../sections/values.ts';

/** The content of a file without its last line break. @throws Error that names the file, without its content. */
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
 * Reads a secret. A file is read each time, because the secret may rotate.
 * @throws Error when the file cannot be read, is empty, or has a control character, which could end a header line early (CVE-2023-23936).
 */
export async function readSecret(secret: Secret): Promise<string> {
  if (secret.kind === 'text') return secret.text;
  const text = await readFilled(secret.path);
  if (/\p{Cc}/u.test(text)) throw new Error(`${secret.path} holds more than one line`);
  return text;
}

/** As {@link readSecret}. @throws Error also when a file holds less than `leastBytes`: it could be guessed. */
export async function readLongSecret(secret: Secret, leastBytes: number): Promise<string> {
  const text = await readSecret(secret);
  if (secret.kind === 'text' || Buffer.byteLength(text) >= leastBytes) return text;
  throw new Error(`${secret.path} holds less than ${leastBytes} bytes`);
}

/** Reads the token of the management API. @throws Error as {@link readLongSecret} does, and for what an `Authorization` header cannot carry. */
export async function readToken(path: string, leastBytes: number): Promise<string> {
  const token = await readLongSecret({ kind: 'file', path }, leastBytes);
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new Error(`${path} holds more than letters, digits and signs of ASCII`);
}

/** With this user, Google's registries take a service account's JSON key, which has many lines, as the password. */
const jsonKeyUser = '_json_key';

/**
 * Reads the password of a user. It is sent in base64, so that the lines of Google's key cannot end a header early.
 * @throws Error as {@link readSecret} does.
 */
export async function readPassword(username: string, password: Secret): Promise<string> {
  return password.kind === 'file' && username === jsonKeyUser ? readFilled(password.path) : readSecret(password);
}
