import { createServer } from 'node:http';
import { once } from 'node:events';
import { buffer } from 'node:stream/consumers';
import type { Clock } from '../../src/mirror/ports/clock.ts';
import { freePort } from './free-port.ts';
import type { Gate } from './gate.ts';
import { thisTest } from './owner.ts';
import { startProcess } from './processes.ts';
import { tool } from './tools.ts';

/** moto: AWS's ECR and STS, behind a proxy that the tests control. */
export interface Moto {
  readonly url: string;
  /** The actions it was asked for, in order: `GetAuthorizationToken`, `AssumeRoleWithWebIdentity`. */
  readonly asked: readonly string[];
  /** From now on every action is refused as AWS refuses it. */
  refuse(refuses: boolean): void;
  /** From now on nothing is answered before the gate opens. */
  hold(until: Gate): void;
}

const lifeMs = 12 * 3_600_000;

/**
 * moto's authorization tokens ended in 2015, whatever the day: on their way through they get twelve hours from now, as AWS's have.
 */
export async function startMoto(clock: Clock): Promise<Moto> {
  const motoPort = await freePort();
  const process = startProcess(tool('moto_server'), ['-H', '127.0.0.1', '-p', String(motoPort)]);
  await process.waitUntil(({ output }) => output.includes('Running on'), 60_000);
  const asked: string[] = [];
  let [isRefusing, held]: [boolean, Gate | undefined] = [false, undefined];
  const door = createServer((request, response) => {
    void buffer(request).then(async (body) => {
      asked.push(actionIn(request.headers['x-amz-target'], body.toString()));
      await held?.opened;
      if (isRefusing) return void response.writeHead(400).end('{"__type":"AccessDeniedException"}');
      const headers = Object.entries(request.headers).flatMap(([name, value]) =>
        typeof value === 'string' && !['connection', 'content-length'].includes(name) ? [[name, value]] : [],
      );
      const answer = await fetch(`http://127.0.0.1:${motoPort}${request.url}`, {
        method: 'POST',
        headers: Object.fromEntries(headers),
        body,
      });
      const text = await answer.text();
      const type = answer.headers.get('content-type') ?? 'application/json';
      const endsAt = `"expiresAt": ${(clock.now() + lifeMs) / 1_000}`;
      response.writeHead(answer.status, { 'content-type': type }).end(text.replace(/"expiresAt": [\d.]+/, endsAt));
    });
  });
  const port = await freePort();
  await once(door.listen(port, '127.0.0.1'), 'listening');
  thisTest(async () => {
    door.close();
    door.closeAllConnections();
  });
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    refuse: (refuses) => {
      isRefusing = refuses;
    },
    hold: (until) => {
      held = until;
    },
  };
}

function actionIn(target: string | string[] | undefined, body: string): string {
  return typeof target === 'string' ? (target.split('.')[1] ?? '') : (new URLSearchParams(body).get('Action') ?? '');
}
