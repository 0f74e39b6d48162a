import { createHmac } from 'node:crypto';

/** Of the key, by Standard Webhooks. */
const leastKeyBytes = 24;
const mostKeyBytes = 64;
const prefix = 'whsec_';

/**
 * The key in a secret: `whsec_` and base64; the prefix may be missing.
 * @throws Error, without the secret, when it is not so, or not 24 to 64 bytes.
 */
export function signingKey(secret: string): Buffer {
  const text = secret.startsWith(prefix) ? secret.slice(prefix.length) : secret;
  const key = Buffer.from(text, 'base64');
  const isBase64 = key.toString('base64').replace(/=+$/, '') === text.replace(/=+$/, '');
  if (isBase64 && key.byteLength >= leastKeyBytes && key.byteLength <= mostKeyBytes) return key;
  throw new Error(`expected ${leastKeyBytes} to ${mostKeyBytes} bytes in base64, after "${prefix}"`);
}

export interface Signed {
  /** Of the event: the same each time that it is sent. */
  readonly id: string;
  /** Exactly as it is sent. */
  readonly body: string;
  /** When it is sent, as receivers check against replays. */
  readonly atMs: number;
}

/** The headers of a request by Standard Webhooks 1.0: one signature for each key. Pure. */
export function signatureHeaders(
  { id, body, atMs }: Signed,
  keys: readonly Buffer[],
): Readonly<Record<`webhook-${string}`, string>> {
  const timestamp = String(Math.floor(atMs / 1_000));
  const signatures = keys.map((key) => {
    const hash = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64');
    return `v1,${hash}`;
  });
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') };
}
