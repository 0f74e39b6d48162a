import type { CredentialSettings } from '../settings.ts';
import { createBasicCredentials } from './basic.ts';
import type { Credentials } from './credentials.ts';

/** @param account tells it apart from the other accounts of its upstream, without naming it. */
export function createCredentials(settings: CredentialSettings, account: string): Credentials {
  return createBasicCredentials(settings, account);
}
