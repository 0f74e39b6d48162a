import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { incomingFolder } from '../src/storage/layout.ts';
import type { MirrorProcess } from './mirror-process.ts';

/** The resources that a process holds at one moment. */
export interface ProcessState {
  readonly rssBytes: number;
  readonly heapBytes: number;
  readonly descriptors: number;
  readonly sockets: number;
  readonly timers: number;
  /** 99th percentile of the event loop delay since the last scrape, in milliseconds. */
  readonly eventLoopP99Ms: number;
  /** Incomplete files that cannot be resumed. */
  readonly strayFiles: number;
  readonly downloads: number;
}

/** Reads the state of the mirror from outside: from /proc, its metrics and its folder. */
export async function stateOf(mirror: MirrorProcess): Promise<ProcessState> {
  const [metrics, rssBytes, links, strayFiles] = await Promise.all([
    mirror.metrics(),
    residentBytes(mirror.pid),
    descriptorsOf(mirror.pid),
    strayFilesIn(mirror.dataFolder),
  ]);
  return {
    rssBytes,
    heapBytes: metrics.sum('nodejs_heap_size_used_bytes'),
    descriptors: links.length,
    sockets: links.filter((link) => link.startsWith('socket:')).length,
    timers: metrics.sum('nodejs_active_resources', { type: 'Timeout' }),
    eventLoopP99Ms: metrics.sum('nodejs_eventloop_lag_p99_seconds') * 1_000,
    strayFiles,
    downloads: metrics.sum('layerwell_cache_fills_in_flight'),
  };
}

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) * 1024;
}

/** The target of each open descriptor, without those that are closed meanwhile. */
async function descriptorsOf(pid: number): Promise<readonly string[]> {
  const folder = `/proc/${pid}/fd`;
  const links = (await readdir(folder)).map((name) => readlink(join(folder, name)).catch(() => undefined));
  return (await Promise.all(links)).filter((link) => link !== undefined);
}

/** Counts files in incoming/ that are not a partial download or its checkpoint: a write in progress, or a leak. */
async function strayFilesIn(dataFolder: string): Promise<number> {
  const names = await readdir(join(dataFolder, incomingFolder));
  const withCheckpoint = new Set(
    names.filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -'.json'.length)),
  );
  return names.filter(
    (name) => !withCheckpoint.has(name) && !(name.endsWith('.json') && names.includes(name.slice(0, -5))),
  ).length;
}
