import type { OpenedBlob } from '../ports/upstream.ts';

/** A blob that the store has no room for, with the upstream's open body. The first caller of `takeOpened` owns the body. */
export interface NotStored {
  readonly kind: 'no-room';
  /** Of the whole blob, where it is known. */
  readonly size: number | undefined;
  readonly takeOpened: () => OpenedBlob | undefined;
}

/** Waiters take the body in this turn of the event loop. After that it is closed, since it would hold a connection. */
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
