import type { Herd } from './simulate.ts';

/** Cold pulls of a blob of 256 MiB that the bench measured on its two processors on 2026-11-29. */
export const measuredHerds: readonly (Pick<Herd, 'shape' | 'replicas' | 'nodes'> & { readonly seconds: number })[] = [
  { shape: 'alone', replicas: 1, nodes: 10, seconds: 1.19 },
  { shape: 'alone', replicas: 1, nodes: 50, seconds: 4.85 },
  { shape: 'siblings', replicas: 3, nodes: 60, seconds: 6.29 },
];
