import { cpus, release, totalmem } from 'node:os';
import { readFile } from 'node:fs/promises';
import { type Tools, versionOf } from './tools.ts';

/** The hardware and software versions that the results depend on, one per line. */
export async function machineFacts(tools: Tools, program: string): Promise<readonly string[]> {
  const processors = cpus();
  return [
    `${processors.length} × ${processors[0]?.model ?? 'unknown processor'}, ${Math.round(totalmem() / 1024 ** 3)} GiB of memory`,
    `Linux ${release()}, Node ${process.version}`,
    `Layerwell ${await packageVersion('..')} from ${program}, Koa ${await packageVersion('../node_modules/koa')}`,
    `distribution proxy: ${tools.proxyRegistry.version}`,
    ...(tools.zot === undefined ? [] : [`zot: ${await zotVersion(tools.zot)}`]),
    `upstream: ${tools.upstreamRegistry.version}`,
    `${await versionOf(tools.nginx, '-v')}, ${await versionOf(tools.wrk, '-v')}`,
  ].map((fact) => fact.replaceAll(/\s+/g, ' '));
}

/** zot prints its version as a line of its log. */
async function zotVersion(zot: string): Promise<string> {
  const line: unknown = JSON.parse(await versionOf(zot));
  const known = typeof line === 'object' && line !== null && 'commit' in line && line.commit !== '';
  return known ? String(line.commit) : 'unknown version';
}

async function packageVersion(folder: string): Promise<string> {
  const manifest: unknown = JSON.parse(await readFile(new URL(`${folder}/package.json`, import.meta.url), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : 'unknown';
}
