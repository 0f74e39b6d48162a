/**
 * How fast an index is rebuilt from a store: `node bench/index-rebuild.ts [images]`. It fails below the target, which only a machine that does
 * nothing else can tell.
 */
import { tmpdir } from 'node:os';
import { measureRebuild } from './large-store/rebuild.ts';
import { verdictOn } from './targets.ts';

const images = Number(process.argv[2] ?? 20_000);
const { signal } = new AbortController();
const { bounds, figures } = await measureRebuild({ images, workDir: tmpdir(), signal });
for (const { what, measured } of [...bounds, ...figures]) process.stdout.write(`${what}: ${measured.toFixed(1)}\n`);
for (const { target, isMet } of bounds.map(verdictOn)) {
  process.stdout.write(`${target}: ${isMet ? 'met' : 'not met'}\n`);
  if (!isMet) process.exitCode = 1;
}
