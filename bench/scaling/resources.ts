import type { Figures } from './figures.ts';
import type { Herd, Shape, Site } from './simulate.ts';

export type ResourceName =
  | 'upstream'
  | 'bucket'
  | 'network into a replica'
  | 'network out of a replica'
  | 'processor of a replica'
  | 'network of the nodes'
  | 'processors of the machine';

/** What a flow is, for the resources it needs. */
export interface Load {
  readonly kind: 'in' | 'out';
  readonly replica: number;
  readonly sibling: number | undefined;
  readonly copies: number;
}

interface Resource {
  readonly name: ResourceName;
  readonly perSecond: number;
  left: number;
  asked: number;
  used: number;
  offered: number;
}

interface Need {
  readonly resource: Resource;
  readonly perGiB: number;
}

/** Links and processors, and what is left of them in the current step. */
export class Resources {
  readonly #figures: Figures;
  readonly #shape: Shape;
  readonly #isShared: boolean;
  readonly #outside: Resource;
  readonly #machine: Resource;
  readonly #into: readonly Resource[];
  readonly #outOf: readonly Resource[];
  readonly #processor: readonly Resource[];
  readonly #nodes: readonly Resource[];
  readonly #needs = new Map<Load, readonly Need[]>();

  constructor({ shape, replicas, nodes }: Herd, site: Site, figures: Figures) {
    const each = (name: ResourceName, perSecond: (replica: number) => number) =>
      Array.from({ length: replicas }, (_, replica) => resource(name, perSecond(replica)));
    this.#figures = figures;
    this.#shape = shape;
    this.#isShared = site.sharedProcessors !== undefined;
    this.#outside = shape === 'bucket' ? resource('bucket', site.bucket) : resource('upstream', site.upstream);
    this.#machine = resource('processors of the machine', site.sharedProcessors ?? 0);
    this.#into = each('network into a replica', () => site.replica);
    this.#outOf = each('network out of a replica', () => site.replica);
    this.#processor = each('processor of a replica', () => figures.processorsPerReplica);
    this.#nodes = each('network of the nodes', (replica) => site.node * Math.floor((nodes + replica) / replicas));
  }

  refill(seconds: number): void {
    for (const one of this.#all()) {
      one.left = one.perSecond * seconds;
      one.offered += one.left;
    }
  }

  ask(load: Load, gib: number): void {
    for (const { resource: one, perGiB } of this.#needsOf(load)) one.asked += gib * perGiB;
  }

  /** From 0 to 1. */
  shareOf(load: Load): number {
    const shares = this.#needsOf(load).map(({ resource: { left, asked } }) => (asked > left ? left / asked : 1));
    return Math.min(1, ...shares);
  }

  use(load: Load, gib: number): void {
    for (const { resource: one, perGiB } of this.#needsOf(load)) {
      one.left = Math.max(0, one.left - gib * perGiB);
      one.used += gib * perGiB;
    }
  }

  forgetAsked(): void {
    for (const one of this.#all()) one.asked = 0;
  }

  mostUsed(): ResourceName {
    const [most] = this.#all().toSorted((a, b) => b.used / b.offered - a.used / a.offered);
    return most?.name ?? 'upstream';
  }

  #all(): readonly Resource[] {
    const replicas = [...this.#into, ...this.#outOf, ...this.#processor, ...this.#nodes];
    return [this.#outside, ...(this.#isShared ? [this.#machine] : []), ...replicas];
  }

  #needsOf(load: Load): readonly Need[] {
    const known = this.#needs.get(load);
    if (known) return known;
    const needs = load.kind === 'in' ? this.#toReceive(load) : this.#toSend(load.replica, this.#nodes[load.replica]);
    this.#needs.set(load, needs);
    return needs;
  }

  #toReceive({ replica, sibling }: Load): readonly Need[] {
    const { receiveCpuSecondsPerGiB, upstreamCpuSecondsPerGiB } = this.#figures;
    const received = [need(this.#into[replica], 1), need(this.#processor[replica], receiveCpuSecondsPerGiB)].flat();
    const machine = this.#onMachine(receiveCpuSecondsPerGiB);
    if (sibling !== undefined) return [...received, ...machine, ...this.#toSend(sibling, undefined)];
    const sent = this.#shape === 'bucket' ? 0 : upstreamCpuSecondsPerGiB;
    return [...received, ...machine, ...need(this.#outside, 1), ...this.#onMachine(sent)];
  }

  /** @param nodes if it is sent to nodes, and not to a sibling. */
  #toSend(replica: number, nodes: Resource | undefined): readonly Need[] {
    const { sendCpuSecondsPerGiB, clientCpuSecondsPerGiB } = this.#figures;
    return [
      ...need(this.#outOf[replica], 1),
      ...need(this.#processor[replica], sendCpuSecondsPerGiB),
      ...need(nodes, 1),
      ...this.#onMachine(sendCpuSecondsPerGiB + (nodes ? clientCpuSecondsPerGiB : 0)),
    ];
  }

  #onMachine(cpuSecondsPerGiB: number): readonly Need[] {
    return this.#isShared ? need(this.#machine, cpuSecondsPerGiB) : [];
  }
}

function resource(name: ResourceName, perSecond: number): Resource {
  return { name, perSecond, left: 0, asked: 0, used: 0, offered: 0 };
}

function need(one: Resource | undefined, perGiB: number): readonly Need[] {
  return one ? [{ resource: one, perGiB }] : [];
}
