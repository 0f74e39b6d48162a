import nock from 'nock';
import { vi } from 'vitest';
import { thisTest } from '../../../support/owner.ts';

/** An AWS whose account is in the environment, and of which nothing but what nock answers can be reached. */
export function stubAws(): void {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIDEXAMPLE');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret-key-of-the-account');
  vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
  vi.stubEnv('AWS_CONFIG_FILE', '/nowhere');
  vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', '/nowhere');
  nock.disableNetConnect();
  nock.enableNetConnect('127.0.0.1');
  thisTest(async () => {
    vi.unstubAllEnvs();
    nock.abortPendingRequests();
    nock.cleanAll();
    nock.enableNetConnect();
  });
}

/** What AWS issues, as both of its APIs write it. */
export function awsToken(password: string, endsAtMs: number): { authorizationToken: string; expiresAt: number } {
  return { authorizationToken: Buffer.from(`AWS:${password}`).toString('base64'), expiresAt: endsAtMs / 1_000 };
}
