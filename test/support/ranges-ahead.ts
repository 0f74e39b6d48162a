import type { OpenAnswer } from './client.ts';
import { open } from './client.ts';
import type { FakeContentOptions } from './fake-content.ts';
import { type FakeRegistry, startFakeRegistry } from './fake-registry.ts';
import { type Gate, gate } from './gate.ts';
import { type Content, content } from './images.ts';
import { type RunningApp, startAppInMemory } from './start-app.ts';
import { mirrorOf } from './start-mirror.ts';

const mebibyte = 1024 * 1024;
const repository = 'library/app';

/** Parts of the blob behind here are far ahead of a download that is held at its first mebibyte. */
export const farAhead = 70 * mebibyte;

/** A blob of 80 MiB, whose bytes differ at every position where tests look. */
export function largeBlob(): Content {
  const bytes = Buffer.alloc(80 * mebibyte, 'layer ');
  bytes.fill('far ahead ', farAhead);
  for (let at = 0; at < bytes.length; at += 4_096) bytes.writeUInt32BE(at, at);
  return content('application/octet-stream', bytes);
}

/** The idle timeout is longer than any test. */
const silentForLong = { headers: '10m', idle: '10m' };

export interface HeldDownload {
  readonly upstream: FakeRegistry;
  readonly app: RunningApp;
  /** Where clients ask the mirror for the blob. */
  readonly path: string;
  /** Lets the download continue. */
  readonly door: Gate;
}

/** A mirror before an upstream that holds the first download of the blob at its first mebibyte, and answers whatever else it is asked. */
export async function startHoldingFirst(blob: Content, options: FakeContentOptions = {}): Promise<HeldDownload> {
  const upstream = await startFakeRegistry(options);
  upstream.content.addBlob(repository, blob);
  const door = gate();
  upstream.script({ path: /\/blobs\//, times: 1 }, { holdBody: { afterBytes: mebibyte, until: door } });
  const { url } = upstream;
  const app = await startAppInMemory(
    mirrorOf(upstream, { upstreams: { 'docker.io': { url, timeouts: silentForLong } } }),
  );
  return { upstream, app, path: `/v2/${repository}/blobs/${blob.digest}`, door };
}

/** The same, and a client has begun that download. */
export async function startDownloading(
  blob: Content,
  options: FakeContentOptions = {},
): Promise<HeldDownload & { readonly whole: OpenAnswer }> {
  const held = await startHoldingFirst(blob, options);
  const whole = await open(held.app, held.path);
  await whole.read(1);
  return { ...held, whole };
}
