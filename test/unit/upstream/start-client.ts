import { createRegistryClient, type RegistryClient } from '../../../src/upstream/registry-client.ts';
import { defaultUpstreamSettings, type UpstreamSettings } from '../../../src/upstream/settings.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { thisTest } from '../../support/owner.ts';
import { RecordingObserver } from './recording-observer.ts';

export interface TestClient {
  readonly client: RegistryClient;
  readonly observer: RecordingObserver;
  readonly clock: ManualClock;
}

/** A client of the registry at `url`, which the test's end closes. */
export function clientOf(url: string, settings: Partial<UpstreamSettings> = {}): TestClient {
  const observer = new RecordingObserver();
  const clock = new ManualClock();
  const name = 'registry.test';
  const all = { ...defaultUpstreamSettings, url, ...settings };
  const client = createRegistryClient({ name, label: name, settings: all, clock, observer });
  thisTest(() => client.close());
  return { client, observer, clock };
}

/** For those who never give up. */
export const patiently = { signal: new AbortController().signal };
