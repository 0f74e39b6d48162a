#!/usr/bin/env node
import { createRequire } from 'node:module';
import { Command } from 'commander';
import { addAskingCommands } from './program/asking.ts';
import { addKubernetesCommands } from './program/kubernetes.ts';
import { addServingCommands } from './program/serving.ts';

/** From package.json, which lies beside both `src` and `dist`. */
function packageVersion(): string {
  const manifest: unknown = createRequire(import.meta.url)('../package.json');
  const isNamed = typeof manifest === 'object' && manifest !== null && 'version' in manifest;
  return isNamed ? String(manifest.version) : 'unknown';
}

const program = new Command('layerwell')
  .version(packageVersion())
  .description('A pull-through caching mirror for container registries');

addServingCommands(program);
addAskingCommands(program);
addKubernetesCommands(program);

await program.parseAsync();
