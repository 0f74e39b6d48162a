/** In milliseconds; the same in every thread of this process. */
export function absoluteMs(): number {
  return performance.timeOrigin + performance.now();
}
