import { readdir, readFile, writeFile } from 'node:fs/promises';

/** What one server spent while something was asked of it. */
export interface Cost {
  readonly seconds: number;
  /** User and system time of the server with its children; 10 ms is the finest the kernel tells. */
  readonly cpuSeconds: number;
  /** The most memory the server held meanwhile (VmHWM). */
  readonly peakBytes: number;
}

/** USER_HZ: proc(5) tells times in these, and Linux has it at 100 on every platform Node runs on. */
const ticksPerSecond = 100;

/** Does `action` and tells what it cost the server `pid`. */
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

/** Memory a server holds now, with its children. */
export async function residentBytes(pid: number): Promise<number> {
  return total(await processTree(pid), (each) => memoryOf(each, 'VmRSS'));
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

/** proc(5): fields 14 and 15 of /proc/[pid]/stat; the second field may hold spaces, so count from its closing bracket. */
async function cpuSecondsOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** proc(5): writing 5 to clear_refs resets the peak to what is held now. */
async function resetPeak(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, '5');
}

async function memoryOf(pid: number, field: 'VmHWM' | 'VmRSS'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const kibibytes = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1];
  if (kibibytes === undefined) throw new Error(`/proc/${pid}/status has no ${field}`);
  return Number(kibibytes) * 1024;
}
