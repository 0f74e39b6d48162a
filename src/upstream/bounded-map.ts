import { LRUCache } from 'lru-cache';

/**
 * A map that holds at most `max` entries; those that were used longest ago leave first. Room is taken when it is needed: lru-cache's own
 * `max` sets it aside at once, which with some hundred upstreams takes the start of the mirror seconds.
 */
export function boundedMap<Key extends string, Value extends {}>(max: number): LRUCache<Key, Value> {
  return new LRUCache({ maxSize: max, sizeCalculation: () => 1 });
}
