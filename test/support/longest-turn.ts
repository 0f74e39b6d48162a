/** Processor time that the main thread spent in one turn of the event loop at most: other processes don't add to it. */
export async function longestTurnMs(work: () => Promise<void>): Promise<number> {
  let longestMicros = 0;
  let isWorking = true;
  let before = cpuMicros();
  const turn = (): void => {
    const now = cpuMicros();
    longestMicros = Math.max(longestMicros, now - before);
    before = now;
    if (isWorking) setImmediate(turn);
  };
  setImmediate(turn);
  await work();
  isWorking = false;
  return longestMicros / 1000;
}

function cpuMicros(): number {
  const { user, system } = process.threadCpuUsage();
  return user + system;
}
