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

/**
 * The values of many generators, in the order in which they come. At most `most` of them run at the same time, each one value ahead.
 * @throws what one of them throws; the others are ended first.
 */
export async function* merged<Value>(
  generators: readonly AsyncGenerator<Value>[],
  most: number,
): AsyncGenerator<Value> {
  const waiting = [...generators];
  const running = new Map<AsyncGenerator<Value>, Promise<Next<Value>>>();
  const ask = (generator: AsyncGenerator<Value> | undefined) => {
    if (!generator) return;
    const next = generator.next().then((result) => ({ generator, result }));
    next.catch(() => {}); // It is thrown when its turn comes.
    running.set(generator, next);
  };
  try {
    while (running.size < most && waiting.length > 0) ask(waiting.shift());
    while (running.size > 0) {
      const { generator, result } = await Promise.race(running.values());
      running.delete(generator);
      ask(result.done ? waiting.shift() : generator);
      if (!result.done) yield result.value;
    }
  } finally {
    await Promise.allSettled([...running.keys()].map((generator) => generator.return(undefined)));
  }
}

interface Next<Value> {
  readonly generator: AsyncGenerator<Value>;
  readonly result: IteratorResult<Value, unknown>;
}
