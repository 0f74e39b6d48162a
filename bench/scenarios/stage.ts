import type { Readers } from '../clients/readers.ts';
import type { Contender, Site } from '../contenders/contender.ts';
import type { Upstream } from '../contenders/distribution.ts';
import type { Image } from '../images.ts';
import type { Sample } from '../samples.ts';
import type { Tools } from '../tools.ts';

/** Everything a measurement needs. The servers are running, and the warm image is in every cache. */
export interface Stage {
  readonly tools: Tools;
  readonly readers: Readers;
  readonly upstream: Upstream;
  readonly proxy: Contender;
  readonly layerwell: Contender;
  /** Undefined where its program is not given. */
  readonly zot: Contender | undefined;
  readonly nginx: Contender;
  readonly koa: Contender;
  readonly warmImage: Image;
  readonly runs: number;
  /** A new folder for another server. */
  site(name: string): Site;
  readonly signal: AbortSignal;
}

/** Those that are there. */
export function present(contenders: readonly (Contender | undefined)[]): readonly Contender[] {
  return contenders.flatMap((contender) => contender ?? []);
}

/**
 * Measures all contenders in every run. Each run begins with a different one, so that other load on the machine affects
 * all of them equally.
 */
export async function interleaved<Thing>(
  runs: number,
  things: readonly Thing[],
  measure: (thing: Thing, run: number) => Promise<Sample>,
): Promise<readonly Sample[]> {
  const samples: Sample[] = [];
  for (let run = 0; run < runs; run++) {
    const first = run % things.length;
    for (const thing of [...things.slice(first), ...things.slice(0, first)]) samples.push(await measure(thing, run));
  }
  return samples;
}
