/** A value at one moment. */
export interface Point {
  readonly atSeconds: number;
  readonly value: number;
}

/** The growth of a value over time, by linear regression (least squares). Pure. */
export function growthOf(points: readonly Point[]): number {
  const count = points.length;
  const [first, last] = [points[0], points.at(-1)];
  if (!first || !last || count < 2) return 0;
  const meanAt = points.reduce((sum, { atSeconds }) => sum + atSeconds, 0) / count;
  const meanValue = meanOf(points);
  const spread = points.reduce((sum, { atSeconds }) => sum + (atSeconds - meanAt) ** 2, 0);
  const together = points.reduce((sum, { atSeconds, value }) => sum + (atSeconds - meanAt) * (value - meanValue), 0);
  return spread === 0 ? 0 : (together / spread) * (last.atSeconds - first.atSeconds);
}

export function meanOf(points: readonly Point[]): number {
  return points.reduce((sum, { value }) => sum + value, 0) / points.length;
}

/** The lowest of every `every` points: for a heap, about its size after garbage collection. Pure. */
export function lowsOf(points: readonly Point[], every: number): readonly Point[] {
  const lows: Point[] = [];
  for (let at = 0; at + every <= points.length; at += every) {
    const low = points.slice(at, at + every).reduce((a, b) => (b.value < a.value ? b : a));
    lows.push(low);
  }
  return lows;
}
