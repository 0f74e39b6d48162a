import type { Observer, StoreObserver } from '../../../src/mirror/ports/observer.ts';

type Event<Name extends keyof Observer> = Parameters<Required<Observer>[Name]>[0];

/** Keeps what it was told of the upstream. */
export class RecordingObserver implements Observer, StoreObserver {
  readonly answers: Event<'upstreamAnswered'>[] = [];
  readonly transfers: Event<'upstreamBytes'>[] = [];

  readonly rateLimits: Event<'rateLimitSeen'>[] = [];
  readonly failures: Event<'internalError'>[] = [];
  readonly retries: string[] = [];
  readonly upstreamFailures: string[] = [];
  /** How downloads of manifests ended. */
  readonly manifestEnds: string[] = [];
  readonly secretsFetched: Event<'secretFetched'>[] = [];

  /** `blob ok`: what siblings were asked, but for the question that each new one is asked first. */
  readonly siblingsAsked: string[] = [];
  /** What siblings asked, likewise. */
  readonly siblingsServed: string[] = [];

  /** `GET manifest 200`, in the order in which it happened. */
  get story(): readonly string[] {
    return this.answers.map(({ method, kind, outcome }) => `${method} ${kind} ${outcome}`);
  }

  bytesOf(kind: Event<'upstreamBytes'>['kind']): number {
    return this.transfers.filter((one) => one.kind === kind).reduce((sum, { bytes }) => sum + bytes, 0);
  }

  upstreamAnswered(event: Event<'upstreamAnswered'>): void {
    this.answers.push(event);
  }

  upstreamBytes(event: Event<'upstreamBytes'>): void {
    this.transfers.push(event);
  }

  rateLimitSeen(event: Event<'rateLimitSeen'>): void {
    this.rateLimits.push(event);
  }

  internalError(event: Event<'internalError'>): void {
    this.failures.push(event);
  }

  siblingAsked({ kind, outcome }: Event<'siblingAsked'>): void {
    if (kind !== 'ping') this.siblingsAsked.push(`${kind} ${outcome}`);
  }

  siblingServed({ kind, outcome }: Event<'siblingServed'>): void {
    this.siblingsServed.push(`${kind} ${outcome}`);
  }

  upstreamRetried({ upstream, reason }: Event<'upstreamRetried'>): void {
    this.retries.push(`${upstream} ${reason}`);
  }

  upstreamFailed({ upstream, reason }: Event<'upstreamFailed'>): void {
    this.upstreamFailures.push(`${upstream} ${reason}`);
  }

  secretFetched(event: Event<'secretFetched'>): void {
    this.secretsFetched.push(event);
  }

  manifestDownloaded({ result }: Event<'manifestDownloaded'>): void {
    this.manifestEnds.push(result);
  }

  diskAnswered(): void {}
  indexAnswered(): void {}
  rejected(): void {}
  indexRebuilt(): void {}
  integrityChecked(): void {}
  circuitChanged(): void {}
  blobBytes(): void {}
  answered(): void {}
  downloadStarted(): void {}
  downloadsWaiting(): void {}
  downloadEnded(): void {}
  collapsed(): void {}
  tagRevalidated(): void {}

  tagMoved(): void {}

  imageStored(): void {}
  servedStale(): void {}
  contentStored(): void {}
  evicted(): void {}
  corruptionFound(): void {}
}
