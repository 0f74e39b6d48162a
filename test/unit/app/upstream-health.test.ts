import { expect, test } from 'vitest';
import { UpstreamHealth } from '../../../src/app/upstream-health.ts';
import { ManualClock } from '../../support/manual-clock.ts';

function health() {
  const changes: string[] = [];
  const clock = new ManualClock(Date.UTC(2030, 0, 1));
  const onChange = ({ upstream, state }: { upstream: string; state: string }) => changes.push(`${upstream} ${state}`);
  return { changes, health: new UpstreamHealth({ labels: ['docker.io', 'ghcr.io'], clock, onChange }) };
}

test('an upstream without requests is reported as unused', () => {
  expect(health().health.states()).toEqual({
    'docker.io': { state: 'not asked yet' },
    'ghcr.io': { state: 'not asked yet' },
  });
});

test('an upstream that gives no answer is reported as unreachable, with the reason and since when', () => {
  const { health: one } = health();
  one.record({ upstream: 'docker.io', outcome: 'dns' });

  expect(one.states()['docker.io']).toEqual({
    state: 'unreachable',
    reason: 'dns',
    since: '2030-01-01T00:00:00.000Z',
  });
});

test('an upstream that answers with any status is reachable; an aborted request says nothing', () => {
  const { health: one } = health();
  one.record({ upstream: 'docker.io', outcome: 503 });
  one.record({ upstream: 'ghcr.io', outcome: 'aborted' });

  expect(one.states()).toMatchObject({ 'docker.io': { state: 'reachable' }, 'ghcr.io': { state: 'not asked yet' } });
});

test('only a change is logged', () => {
  const { health: one, changes } = health();
  for (const outcome of ['connect', 'timeout', 200, 404, 'tls']) one.record({ upstream: 'docker.io', outcome });

  expect(changes).toEqual(['docker.io unreachable', 'docker.io reachable', 'docker.io unreachable']);
});
