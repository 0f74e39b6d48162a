import type { OpenedBlob } from '../ports/upstream.ts';

/** The upstream's open body where there is no room to store it. Whoever takes it first owns it. */
export interface NotStored {
  readonly kind: 'no-room';
  /** Of the whole blob, where it is known. */
  readonly size: number | undefined;
  readonly takeOpened: () => OpenedBlob | undefined;
}

/** Whoever waits for it takes the body in this turn; a body that nobody takes would hold a connection, and is closed. */
export function notStored(size: number | undefined, opened: OpenedBlob): NotStored {
  let left: OpenedBlob | undefined = opened;
  const takeOpened = () => {
    const taken = left;
    left = undefined;
    return taken;
  };
  setImmediate(() => takeOpened()?.body.destroy());
  return { kind: 'no-room', size, takeOpened };
}
