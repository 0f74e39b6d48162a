/**
 * Loaded into the mirror's process before its own code (`--import`). Its parent sends `begin` and `end` over the IPC channel; the reply to `end`
 * lists the functions called between the two.
 */
import { type Debugger, Session } from 'node:inspector/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CalledFunction, Recording } from './recording.ts';

/** A pull is over when no function of src/ was called for this long. So the commit, the records and the batched index writes count. */
const quietMs = 300;
const source = new URL('../../src/', import.meta.url).href;

interface CalledScript extends CalledFunction {
  readonly scriptId: string;
  readonly start: number;
  readonly end: number;
}

const session = new Session();
session.connect();
await session.post('Profiler.enable');
await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: false });
await session.post('Debugger.enable');

letIntervalsRest();

/** Files in the order of their first call, as seen by the breakpoints of {@link watch}. */
const met = new Set<string>();
Object.assign(globalThis, { pullWalkMet: (file: string) => void met.add(file) });
const watched = new Set<string>();
let isRecording = false;
let lastCalled: readonly CalledScript[] = [];

process.on('message', (message) => {
  if (message === 'begin') void begin().then(() => process.send?.('begun'));
  if (message === 'end') void end().then((recording) => process.send?.(recording));
});
process.once('disconnect', () => process.exit());

/** Stops all intervals from the first recording on: coverage cannot tell background work from the pull. */
function letIntervalsRest(): void {
  const { setInterval } = globalThis;
  const resting = (callback: () => void, everyMs: number) => setInterval(() => isRecording || callback(), everyMs);
  Object.assign(globalThis, { setInterval: resting });
}

/** Coverage counts calls but not their order. So the functions seen in the previous recording are watched in this one. */
async function begin(): Promise<void> {
  isRecording = true;
  for (const called of lastCalled) await watch(called);
  await calledUntilQuiet();
  met.clear();
}

async function end(): Promise<Recording> {
  lastCalled = await calledUntilQuiet();
  return { functions: lastCalled.map(({ file, name }) => ({ file, name })), filesInOrder: [...met] };
}

async function calledUntilQuiet(): Promise<readonly CalledScript[]> {
  const all = new Map<string, CalledScript>();
  for (;;) {
    const called = await calledSinceLast();
    if (called.length === 0) return [...all.values()];
    for (const one of called) all.set(idOf(one), one);
    await sleep(quietMs);
  }
}

/** Without the top level of modules, which runs on import. */
async function calledSinceLast(): Promise<readonly CalledScript[]> {
  const { result } = await session.post('Profiler.takePreciseCoverage');
  return result
    .filter(({ url }) => url.startsWith(source))
    .flatMap(({ scriptId, url, functions }) =>
      functions.flatMap(({ functionName: name, ranges: [range] }) => {
        if (!range || range.count === 0 || (range.startOffset === 0 && name === '')) return [];
        return [{ scriptId, file: url.slice(source.length), name, start: range.startOffset, end: range.endOffset }];
      }),
    );
}

/** Sets a breakpoint at the beginning of the function. Its condition records the call and is never true. */
async function watch(called: CalledScript): Promise<void> {
  if (watched.has(idOf(called))) return;
  watched.add(idOf(called));
  const { scriptId, file, start, end: behind } = called;
  const text = await sourceOf(scriptId);
  const { locations } = await session.post('Debugger.getPossibleBreakpoints', {
    start: locationOf(scriptId, text, start),
    end: locationOf(scriptId, text, behind),
  });
  const [location] = locations;
  if (!location) return;
  const condition = `pullWalkMet(${JSON.stringify(file)}), false`;
  // If two functions begin at the same location, the first breakpoint sees both.
  await session.post('Debugger.setBreakpoint', { location, condition }).catch(() => {});
}

const sources = new Map<string, string>();

async function sourceOf(scriptId: string): Promise<string> {
  const text = sources.get(scriptId) ?? (await session.post('Debugger.getScriptSource', { scriptId })).scriptSource;
  sources.set(scriptId, text);
  return text;
}

function locationOf(scriptId: string, text: string, offset: number): Debugger.Location {
  const before = text.slice(0, offset);
  const lineNumber = before.split('\n').length - 1;
  return { scriptId, lineNumber, columnNumber: offset - (before.lastIndexOf('\n') + 1) };
}

function idOf({ scriptId, start, end: behind }: CalledScript): string {
  return `${scriptId}:${start}:${behind}`;
}
