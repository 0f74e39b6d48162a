import { unreadableSecret } from './credential-failure.ts';
import type { Credentials, Secret } from './credentials.ts';

/** An account whose secret is read whenever it is needed, so that a rotated one holds from then on; nothing is remembered. */
export function readingSecret(account: string, read: () => Promise<Secret>): Credentials {
  return {
    account,
    secret: async () => {
      try {
        return await read();
      } catch (cause) {
        throw unreadableSecret('the file or source of the secret', cause);
      }
    },
    forget: () => {},
  };
}
