import { Agent } from 'node:http';
import type { Dice } from '../dice.ts';
import type { Ledger } from '../ledger.ts';
import type { MirrorProcess } from '../mirror-process.ts';
import type { PublishedImage } from '../world.ts';
import { askForForeignBlob, askOversized, askUnanswered } from './askers.ts';
import { floodRecords } from './floods.ts';
import { openRaw, pass, pipelineUnread, resetMidway } from './raw-connections.ts';

export interface HostileClientDeps {
  readonly world: readonly PublishedImage[];
  readonly mirror: MirrorProcess;
  readonly dice: Dice;
  readonly ledger: Ledger;
}

/** One turn of a kind of hostile client. It is repeated. */
export interface HostileTurn extends HostileClientDeps {
  readonly agent: Agent;
  readonly signal: AbortSignal;
}

interface HostileKind {
  readonly name: string;
  /** How many such clients run at the same time. */
  readonly clients: number;
  /** The average pause of a client between two turns. */
  readonly pauseMs: number;
  readonly turn: (turn: HostileTurn) => Promise<void>;
}

const kinds: readonly HostileKind[] = [
  { name: 'silent', clients: 40, pauseMs: 100, turn: (turn) => askUnanswered(turn, 'silent.test') },
  { name: 'trickling', clients: 40, pauseMs: 100, turn: (turn) => askUnanswered(turn, 'trickling.test') },
  { name: 'foreign', clients: 8, pauseMs: 50, turn: askForForeignBlob },
  { name: 'oversized', clients: 2, pauseMs: 1_000, turn: askOversized },
  { name: 'flood', clients: 2, pauseMs: 20, turn: floodRecords },
  { name: 'resetting', clients: 4, pauseMs: 30, turn: resetMidway },
  { name: 'pipelining', clients: 1, pauseMs: 3_000, turn: pipelineUnread },
];

/** Runs all hostile clients until the signal aborts. */
export async function runHostileClients(deps: HostileClientDeps, signal: AbortSignal): Promise<void> {
  const agent = new Agent({ keepAlive: true });
  await Promise.all(kinds.flatMap((kind) => runKind(kind, { ...deps, agent, signal })));
  agent.destroy();
}

function runKind({ name, clients, pauseMs, turn }: HostileKind, deps: HostileTurn): readonly Promise<void>[] {
  return Array.from({ length: clients }, async (_, index) => {
    const dice = deps.dice.of(`${name} ${index}`);
    while (!deps.signal.aborted) {
      await turn({ ...deps, dice });
      await pass(dice.between(0, 2 * pauseMs), deps.signal);
      await deps.mirror.present();
    }
  });
}

const silentConnections = 100;

/** Keeps connections open without a TLS handshake, and reopens those that the mirror cuts, until the signal aborts. */
export async function runSilentConnections(
  { mirror, ledger }: Pick<HostileClientDeps, 'mirror' | 'ledger'>,
  signal: AbortSignal,
): Promise<void> {
  await Promise.all(
    Array.from({ length: silentConnections }, async () => {
      while (!signal.aborted) {
        const socket = openRaw(mirror);
        ledger.count('faults', 'client: silent TLS connection');
        const closed = new Promise((resolve) => socket.once('close', resolve));
        const over = new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
        await Promise.race([closed, over]);
        socket.destroy();
        await pass(1_000, signal);
      }
    }),
  );
}
