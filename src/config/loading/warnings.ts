import { admitsAnyHost } from '../sections/names.ts';
import { inWords } from './problems.ts';
import type { Config } from '../schema.ts';

/** What of a configuration that can be used its operator should know, each with its key. */
export function warningsOf({ upstreams }: Pick<Config, 'upstreams'>): readonly string[] {
  const message =
    'admits any host on the internet: whoever reaches the mirror pulls through it from anywhere; private addresses stay out of reach';
  return upstreams
    .filter(({ name }) => admitsAnyHost(name))
    .map(({ name }) => inWords({ path: ['upstreams', name], message }));
}
