/**
 * Runs `work` on values as they come, at most `most` at a time and no further ahead than that.
 * @returns the results, in the order of the values.
 * @throws what `work` throws, when its turn comes.
 */
export async function* parallel<Value, Result>(
  values: Iterable<Value> | AsyncIterable<Value>,
  most: number,
  work: (value: Value) => Promise<Result>,
): AsyncGenerator<Result> {
  const running: Promise<Result>[] = [];
  try {
    for await (const value of values) {
      const result = work(value);
      result.catch(() => {}); // It is thrown when its turn comes.
      running.push(result);
      const first = running.length >= most ? running.shift() : undefined;
      if (first) yield await first;
    }
    while (running.length > 0) {
      const first = running.shift();
      if (first) yield await first;
    }
  } finally {
    await Promise.allSettled(running);
  }
}
