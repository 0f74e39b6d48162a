import { createHash } from 'node:crypto';
import { ask } from '../clients/ask.ts';
import { healthyName } from '../world.ts';
import type { HostileTurn } from './hostile-clients.ts';

const requestsOfTurn = 10;

/** Requests tags and listings of new names, so that the mirror writes ever more records. */
export async function floodRecords({ world, mirror, dice, agent, ledger, signal }: HostileTurn): Promise<void> {
  const known = dice.pick(world.filter(({ kind }) => kind === 'healthy')).repository;
  for (let at = 0; at < requestsOfTurn && !signal.aborted; at += 1) {
    const name = dice.below(1_000_000_000);
    const digest = `sha256:${createHash('sha256').update(String(name)).digest('hex')}`;
    const { path, method } = dice.pick([
      { path: `${known}/referrers/${digest}`, method: 'GET' },
      { path: `${known}/manifests/v${name}`, method: 'HEAD' },
      { path: `invented/app-${name}/tags/list`, method: 'GET' },
    ] as const);
    await ask({ origin: mirror.origin, path: `/v2/${path}?ns=${healthyName}`, method, agent, leaveAfterMs: 10_000 });
    ledger.count('faults', 'client: unknown name');
  }
}
