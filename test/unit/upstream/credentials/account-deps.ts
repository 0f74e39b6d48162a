import { createCloudAgents } from '../../../../src/upstream/transport/proxy.ts';
import type { AccountDeps } from '../../../../src/upstream/credentials/credentials.ts';
import { defaultUpstreamSettings, type UpstreamSettings } from '../../../../src/upstream/settings.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { RecordingObserver } from '../recording-observer.ts';

export interface TestAccountDeps extends AccountDeps {
  readonly clock: ManualClock;
  readonly observer: RecordingObserver;
}

/** What an account of a registry gets; clients know it by the name of its host, unless told otherwise. */
export function accountDeps(
  host: string,
  { name = '', clock = new ManualClock(), settings = {} }: Partial<ForTests> = {},
): TestAccountDeps {
  return {
    account: 'account-1',
    registry: { name: name || host, label: name || host, url: new URL(`https://${host}`) },
    cloudAgents: createCloudAgents({ ...defaultUpstreamSettings, ...settings }),
    clock,
    observer: new RecordingObserver(),
  };
}

interface ForTests {
  readonly name: string;
  readonly clock: ManualClock;
  readonly settings: Partial<UpstreamSettings>;
}
