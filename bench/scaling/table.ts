import { type Herd, type Outcome, type Shape, simulate, type Site } from './simulate.ts';

/** The sizes that docs/scaling.md compares. */
const nodeCounts = [10, 100, 1_000, 10_000];
const shapes: readonly { readonly shape: Shape; readonly replicas: number }[] = [
  { shape: 'alone', replicas: 1 },
  { shape: 'alone', replicas: 3 },
  { shape: 'siblings', replicas: 3 },
  { shape: 'siblings', replicas: 10 },
  { shape: 'siblings', replicas: 30 },
  { shape: 'siblings', replicas: 100 },
  { shape: 'bucket', replicas: 10 },
  { shape: 'bucket', replicas: 30 },
];
const image = { imageGiB: 1, layers: 10 };

const gigabit = 1e9 / 8 / 1024 ** 3;
/** An upstream over 1 Gbit/s, replicas and nodes with 10 Gbit/s, a bucket that sends 40 Gbit/s in all. */
export const site: Site = { upstream: gigabit, bucket: 40 * gigabit, replica: 10 * gigabit, node: 10 * gigabit };

/** With fewer, more replicas help nobody. */
const leastNodesPerReplica = 3;
/** Layers that each node downloads at once, and the default of `clients.maxRequests`. */
const layersAtOnce = 3;
const maxRequests = 4_000;

/** How long a 1 GiB image takes to reach the last node, for each size and shape, as Markdown. */
export function scalingTable(): string {
  const header =
    '| nodes | replicas | the last node has it | from the upstream | from siblings or bucket | limited by |';
  const rows = nodeCounts.flatMap((nodes) => shapes.flatMap((one) => rowOf({ ...one, ...image, nodes })));
  return [header, '| ---: | --- | ---: | ---: | ---: | --- |', ...rows].join('\n');
}

function rowOf(herd: Herd): readonly string[] {
  if (herd.replicas * leastNodesPerReplica > herd.nodes) return [];
  const outcome = simulate(herd, site);
  const { seconds, upstreamGiB, siblingGiB, bucketGiB } = outcome;
  const cells = [
    herd.nodes.toLocaleString('en-US'),
    nameOf(herd),
    timeText(seconds),
    `${Math.round(upstreamGiB)} GiB`,
    `${Math.round(siblingGiB + bucketGiB)} GiB`,
    limitOf(herd, outcome),
  ];
  return [`| ${cells.join(' | ')} |`];
}

function nameOf({ shape, replicas }: Herd): string {
  const names: Readonly<Record<Shape, string>> = {
    alone: replicas === 1 ? '' : ', each for itself',
    siblings: ' with siblings',
    bucket: ' with a bucket that has it',
  };
  return `${replicas}${names[shape]}`;
}

/** Also says where the nodes' requests exceed the default limit. */
function limitOf({ nodes, replicas }: Herd, { limitedBy }: Outcome): string {
  const atOnce = Math.ceil((nodes * layersAtOnce) / replicas);
  return atOnce <= maxRequests
    ? limitedBy
    : `${limitedBy}; ${atOnce.toLocaleString('en-US')} requests at once per replica`;
}

function timeText(seconds: number): string {
  if (seconds < 100) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return seconds < 5_400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3_600).toFixed(1)} h`;
}
