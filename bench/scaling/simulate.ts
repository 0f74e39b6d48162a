import { type Figures, measured } from './figures.ts';
import { Resources, type ResourceName } from './resources.ts';

/** Where a replica gets what it lacks: each from the upstream, one for all and from it to the others, or all from the bucket. */
export type Shape = 'alone' | 'siblings' | 'bucket';

/** Nodes that pull one image at the same moment, which no replica has. */
export interface Herd {
  readonly shape: Shape;
  readonly replicas: number;
  readonly nodes: number;
  readonly imageGiB: number;
  readonly layers: number;
}

/** In GiB/s, where no other unit is given. */
export interface Site {
  readonly upstream: number;
  readonly bucket: number;
  /** The network of a replica, in each direction. */
  readonly replica: number;
  readonly node: number;
  /** If replicas, clients and upstream share one machine: its processors. */
  readonly sharedProcessors?: number;
}

export interface Outcome {
  /** Until the last node has the image. */
  readonly seconds: number;
  readonly upstreamGiB: number;
  readonly bucketGiB: number;
  readonly siblingGiB: number;
  /** What was used most. */
  readonly limitedBy: ResourceName;
}

/** As many layers as a container engine downloads at once. */
const layersAtOnce = 3;
const steps = 250;
/** How often unused capacity is given to those that can still use it. */
const rounds = 4;

/** One layer, on its way into a replica or from there to the nodes. */
interface Flow {
  readonly kind: 'in' | 'out';
  readonly replica: number;
  readonly layer: number;
  /** The replica it comes from; undefined: the upstream or the bucket. */
  readonly sibling: number | undefined;
  /** Of one copy. */
  doneGiB: number;
  /** How many copies are sent. */
  readonly copies: number;
}

/**
 * How a cold herd goes, by steps of time in which all flows share links and processors. The nodes are spread evenly, and those of one
 * replica progress together. A flow never overtakes what its source has. Pure.
 */
export function simulate(wanted: Herd, site: Site, figures: Figures = measured): Outcome {
  // A replica without nodes takes no part.
  const herd = { ...wanted, replicas: Math.min(wanted.replicas, wanted.nodes) };
  const resources = new Resources(herd, site, figures);
  const flows = flowsOf(herd);
  const layerGiB = herd.imageGiB / herd.layers;
  const stepSeconds = leastSeconds(herd, site, figures) / steps;
  let seconds = 0;
  while (flows.out.flat().some((flow) => !isDone(flow, layerGiB))) {
    resources.refill(stepSeconds);
    for (let round = 0; round < rounds; round += 1) advance(wantedOf(flows, layerGiB), resources);
    seconds += stepSeconds;
  }
  return { seconds, ...sentIn(flows, herd.shape), limitedBy: resources.mostUsed() };
}

/** By replica, then by layer. */
interface Flows {
  readonly in: readonly (readonly Flow[])[];
  readonly out: readonly (readonly Flow[])[];
}

interface Wanted {
  readonly flow: Flow;
  readonly gib: number;
}

function flowsOf({ shape, replicas, nodes, layers }: Herd): Flows {
  const of = (kind: Flow['kind']) =>
    Array.from({ length: replicas }, (_, replica) =>
      Array.from({ length: layers }, (__, layer): Flow => {
        const holder = layer % replicas;
        const sibling = kind === 'in' && shape === 'siblings' && holder !== replica ? holder : undefined;
        const copies = kind === 'in' ? 1 : Math.floor((nodes + replica) / replicas);
        return { kind, replica, layer, sibling, doneGiB: 0, copies };
      }),
    );
  return { in: of('in'), out: of('out') };
}

/** What each flow could move now: up to what its source has, of the first layers that its clients have not finished. */
function wantedOf(flows: Flows, layerGiB: number): readonly Wanted[] {
  return flows.out.flatMap((out, replica) => {
    const unfinished = out.filter((flow) => !isDone(flow, layerGiB)).slice(0, layersAtOnce);
    return unfinished.flatMap((flow) => {
      const arriving = flows.in[replica]?.[flow.layer];
      if (!arriving) return [];
      const atSource =
        arriving.sibling === undefined ? layerGiB : (flows.in[arriving.sibling]?.[flow.layer]?.doneGiB ?? 0);
      return [
        { flow: arriving, gib: atSource - arriving.doneGiB },
        { flow, gib: arriving.doneGiB - flow.doneGiB },
      ].filter(({ gib }) => gib > 0);
    });
  });
}

function isDone({ doneGiB }: Flow, layerGiB: number): boolean {
  return doneGiB >= layerGiB * (1 - 1e-9);
}

/** Moves bytes: each flow by its share of the resource that is shortest for it. */
function advance(wanted: readonly Wanted[], resources: Resources): void {
  for (const { flow, gib } of wanted) resources.ask(flow, gib * flow.copies);
  const shares = wanted.map(({ flow }) => resources.shareOf(flow));
  for (const [index, { flow, gib }] of wanted.entries()) {
    const moved = gib * (shares[index] ?? 0);
    resources.use(flow, moved * flow.copies);
    flow.doneGiB += moved;
  }
  resources.forgetAsked();
}

function sentIn(flows: Flows, shape: Shape): Pick<Outcome, 'upstreamGiB' | 'bucketGiB' | 'siblingGiB'> {
  const sum = (of: (flow: Flow) => boolean) =>
    flows.in
      .flat()
      .filter(of)
      .reduce((total, { doneGiB }) => total + doneGiB, 0);
  const outside = sum(({ sibling }) => sibling === undefined);
  return {
    upstreamGiB: shape === 'bucket' ? 0 : outside,
    bucketGiB: shape === 'bucket' ? outside : 0,
    siblingGiB: sum(({ sibling }) => sibling !== undefined),
  };
}

/** No herd can be faster: what each link and processor has to carry, over what it can. */
function leastSeconds({ shape, nodes, replicas, imageGiB }: Herd, site: Site, figures: Figures): number {
  const perReplica = Math.min(site.replica, figures.processorsPerReplica / figures.sendCpuSecondsPerGiB);
  const copies = shape === 'siblings' ? 1 : replicas;
  return Math.max(
    (nodes * imageGiB) / (replicas * perReplica),
    (copies * imageGiB) / (shape === 'bucket' ? site.bucket : site.upstream),
    imageGiB / site.node,
  );
}
