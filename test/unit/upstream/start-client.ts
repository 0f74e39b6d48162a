import { createRegistryClient, type RegistryClient } from '../../../src/upstream/registry-client.ts';
import { defaultUpstreamSettings, type UpstreamSettings } from '../../../src/upstream/settings.ts';
import type { Memory } from '../../../src/mirror/ports/memory.ts';
import type { UpstreamMonitor } from '../../../src/mirror/ports/upstream.ts';
import type { Lookup } from '../../../src/upstream/lookup/shared-lookup.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { thisTest } from '../../support/owner.ts';
import { RecordingObserver } from './recording-observer.ts';

export interface TestClient {
  readonly client: RegistryClient;
  readonly observer: RecordingObserver;
  readonly clock: ManualClock;
  /** How long it would have waited before it asked again. */
  readonly pausesMs: readonly number[];
}

/** A client of the registry at `url`, which the test's end closes. */
export function clientOf(
  url: string,
  settings: Partial<UpstreamSettings> = {},
  {
    beforeRetry = async () => {},
    ...replaced
  }: {
    readonly beforeRetry?: () => Promise<void>;
    readonly lookup?: Lookup;
    readonly memory?: Memory;
    readonly monitor?: UpstreamMonitor;
  } = {},
): TestClient {
  const observer = new RecordingObserver();
  const clock = new ManualClock();
  const name = 'registry.test';
  const all = { ...defaultUpstreamSettings, url, ...settings };
  const pausesMs: number[] = [];
  const wait = async (ms: number) => {
    pausesMs.push(ms);
    await beforeRetry();
  };
  const pauses = { random: () => 0.5, wait };
  const client = createRegistryClient({ name, label: name, settings: all, clock, observer, pauses, ...replaced });
  thisTest(() => client.close());
  return { client, observer, clock, pausesMs };
}

/** For those who never give up. */
export const unlimited = { signal: new AbortController().signal };
