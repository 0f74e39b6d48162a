import { LRUCache as Cache } from 'lru-cache';

/** The caches of the mirror reserve their place when they are made, which takes longer than a schedule. */
const most = 500;

export class LRUCache<Key extends {}, Value extends {}, Context = unknown> extends Cache<Key, Value, Context> {
  constructor(options: ConstructorParameters<typeof Cache<Key, Value, Context>>[0]) {
    super(limited(options));
  }
}

function limited<Options extends { readonly max?: number | undefined }>(options: Options): Options {
  return options.max === undefined ? options : Object.assign(options, { max: Math.min(options.max, most) });
}
