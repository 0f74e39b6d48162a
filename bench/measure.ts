import { readdir, readFile, writeFile } from 'node:fs/promises';

/** The resources one server used during a load. */
export interface Cost {
  readonly seconds: number;
  /** User and system time of the server with its children. The kernel's resolution is 10 ms. */
  readonly cpuSeconds: number;
  /** The peak memory of the server during the load (VmHWM). */
  readonly peakBytes: number;
}

/** USER_HZ, the unit of times in proc(5): 100 on every Linux platform that Node runs on. */
const ticksPerSecond = 100;

/** Runs `action`. @returns its result and what it cost the server `pid`. */
export async function costOf<Result>(
  pid: number,
  action: () => Promise<Result>,
): Promise<Cost & { readonly result: Result }> {
  const pids = await processTree(pid);
  await Promise.all(pids.map(resetPeak));
  const cpuBefore = await total(pids, cpuSecondsOf);
  const startedAtMs = performance.now();
  const result = await action();
  const seconds = (performance.now() - startedAtMs) / 1_000;
  const cpuSeconds = (await total(pids, cpuSecondsOf)) - cpuBefore;
  return { result, seconds, cpuSeconds, peakBytes: await total(pids, (each) => memoryOf(each, 'VmHWM')) };
}

/** The current memory of a server with its children. */
export async function residentBytes(pid: number): Promise<number> {
  return total(await processTree(pid), (each) => memoryOf(each, 'VmRSS'));
}

/** The peak memory of a server with its children since it started, or since the last {@link costOf}. */
export async function peakResidentBytes(pid: number): Promise<number> {
  return total(await processTree(pid), (each) => memoryOf(each, 'VmHWM'));
}

/** User and system time of a server with its children since it started. */
export async function processorSeconds(pid: number): Promise<number> {
  return total(await processTree(pid), cpuSecondsOf);
}

async function processTree(pid: number): Promise<readonly number[]> {
  const tasks = await readdir(`/proc/${pid}/task`);
  const listed = await Promise.all(tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, 'utf8')));
  const children = listed.join(' ').split(/\s+/).filter(Boolean).map(Number);
  return [pid, ...(await Promise.all(children.map(processTree))).flat()];
}

async function total(pids: readonly number[], read: (pid: number) => Promise<number>): Promise<number> {
  return (await Promise.all(pids.map(read))).reduce((sum, value) => sum + value, 0);
}

/** proc(5): fields 14 and 15 of /proc/[pid]/stat. The second field may contain spaces, so fields are counted from its closing bracket. */
async function cpuSecondsOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** proc(5): writing 5 to clear_refs resets the peak to the current memory. */
async function resetPeak(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, '5');
}

async function memoryOf(pid: number, field: 'VmHWM' | 'VmRSS'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const kibibytes = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1];
  if (kibibytes === undefined) throw new Error(`/proc/${pid}/status has no ${field}`);
  return Number(kibibytes) * 1024;
}
