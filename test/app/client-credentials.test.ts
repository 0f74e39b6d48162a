import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

test('a client with credentials is served like any other, and the log says once that they are ignored', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add('library/app', '1', image());
  const app = await startApp(mirrorOf(upstream, {}));
  const authorization = `Basic ${Buffer.from('me:secret-of-a-client').toString('base64')}`;
  for (const path of ['/v2/', '/v2/library/app/manifests/1', '/v2/']) {
    const answer = await ask(app, path, { headers: { authorization } });
    expect({ path, status: answer.status }).toEqual({ path, status: 200 });
    expect(answer.headers['www-authenticate']).toBeUndefined();
  }
  const told = app.logLines.filter(({ msg }) => String(msg).startsWith('a client sends credentials'));
  expect(told).toMatchObject([{ level: 40 }]);
  expect(JSON.stringify(app.logLines)).not.toMatch(/secret-of-a-client|bWU6c2Vj/);
  expect(upstream.requests.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
});
