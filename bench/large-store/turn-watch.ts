import { writeFileSync } from 'node:fs';

// Preloaded into the mirror. Between two SIGUSR2 it measures each turn of the event loop, and then writes the longest to a file.

/** The longest turn of the event loop, by the processor time of the main thread and by the clock. */
export interface LongestTurn {
  readonly cpuMs: number;
  readonly wallMs: number;
}

let isWatching = false;

process.on('SIGUSR2', () => {
  isWatching = !isWatching;
  if (isWatching) watch();
});

function watch(): void {
  let [cpuMs, wallMs] = [0, 0];
  let [cpuBefore, wallBefore] = [threadCpuMs(), performance.now()];
  const turn = (): void => {
    const [cpu, wall] = [threadCpuMs(), performance.now()];
    [cpuMs, wallMs] = [Math.max(cpuMs, cpu - cpuBefore), Math.max(wallMs, wall - wallBefore)];
    [cpuBefore, wallBefore] = [cpu, wall];
    if (isWatching) setImmediate(turn);
    else writeFileSync(String(process.env['LONGEST_TURN_FILE']), JSON.stringify({ cpuMs, wallMs }));
  };
  setImmediate(turn);
}

function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}
