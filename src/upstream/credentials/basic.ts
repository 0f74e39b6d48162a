import type { ReadSecret } from '../settings.ts';
import type { Credentials } from './credentials.ts';

export interface BasicSettings {
  readonly username: string;
  readonly readPassword: ReadSecret;
}

/** A user and a password, read whenever it is needed, so that a rotated one holds from then on. */
export function createBasicCredentials({ username, readPassword }: BasicSettings, account: string): Credentials {
  return {
    account,
    secret: async () => ({ kind: 'basic', username, password: await readPassword() }),
    forget: () => {},
  };
}
