import { ReadBuffers } from '../../../../src/http/response/body-pump.ts';
import type { Certificate } from '../../../../src/http/server/certificate.ts';
import { Connections } from '../../../../src/http/server/connections.ts';
import { Listener } from '../../../../src/http/server/listener.ts';
import { SecretCheck } from '../../../../src/http/siblings/secret-check.ts';
import { createSiblingApp } from '../../../../src/http/siblings/sibling-app.ts';
import type { ServedBlob } from '../../../../src/mirror/blobs/served-blob.ts';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import type { HeldContent } from '../../../../src/mirror/held-content.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { thisTest } from '../../../support/owner.ts';
import { secret } from '../../cluster/start-siblings.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

export const previousSecret = 'the secret of last year, also long enough';

/** A replica that holds what the test says; by default nothing. */
export async function startListener({
  held = {},
  maxConnections = 100,
  maxRequests = 100,
  certificate,
  idleTimeoutMs = 30_000,
  tellEveryMs,
}: {
  readonly held?: Partial<Pick<HeldContent, 'blob' | 'manifest' | 'tag' | 'visibility'>>;
  readonly maxConnections?: number;
  readonly maxRequests?: number;
  readonly certificate?: Certificate;
  readonly idleTimeoutMs?: number;
  readonly tellEveryMs?: number;
} = {}) {
  const nothing = async () => undefined;
  const observer = new RecordingObserver();
  const clock = new ManualClock();
  const memory = new MemoryBudget({ maxBytes: 64 * 1024 * 1024 });
  const connections = new Connections({ max: maxConnections });
  const secrets = new SecretCheck({ secret, previousSecret });
  const bugs: unknown[] = [];
  const buffers = new ReadBuffers({ memory });
  const app = createSiblingApp({
    replicaId: 'replica-1',
    mirror: { held: { blob: nothing, manifest: nothing, tag: nothing, visibility: nothing, ...held } },
    secrets,
    limits: { maxRequests, connections },
    report: (bug) => bugs.push(bug),
    ...(tellEveryMs !== undefined && { tellEveryMs }),
    clock,
    buffers,
    memory,
    observer,
  });
  const rest = { certificate, connections, idleTimeoutMs };
  const listener = new Listener(app, { name: 'sibling listener', host: '127.0.0.1', port: 0, ...rest });
  await listener.start();
  thisTest(() => listener.stop({ signal: AbortSignal.abort() }));
  return { listener, url: listener.address, observer, clock, memory, buffers, secrets, bugs };
}

type HeldBlob = ServedBlob & { isClosed: boolean };

/** A blob that is stored, or is still arriving. */
export function heldBlob(bytes: Buffer, more: Partial<ServedBlob> = {}): HeldBlob {
  const blob: HeldBlob = {
    digest: digestOf(bytes),
    size: bytes.byteLength,
    source: {
      read: async (into: Uint8Array, position: number) => bytes.copy(into, 0, position),
      [Symbol.asyncDispose]: async () => {
        blob.isClosed = true;
      },
    },
    cache: { word: 'hit' },
    firstServedAtMs: 0,
    isSequential: false,
    isClosed: false,
    ...more,
  };
  return blob;
}
