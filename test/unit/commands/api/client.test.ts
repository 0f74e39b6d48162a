import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { apiOf } from '../../../../src/commands/api/client.ts';
import { startEndlessAnswer } from '../../../support/endless-answer.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

test('a listener that answers without an end is not the API of a mirror', async () => {
  const { port, sentBytes } = await startEndlessAnswer();
  const api = await apiOf({ file: '', env: {}, server: `http://127.0.0.1:${port}` });
  await expect(api('stats')).rejects.toThrow('its answer is too long');
  expect(sentBytes()).toBeLessThan(60_000_000);
});

test.each(['x'.repeat(40) + '\nsecond line', 'ö'.repeat(40), `${'x'.repeat(40)} y`])(
  'a token that no header can carry is never printed: %j',
  async (token) => {
    const directory = await temporaryDirectory();
    const [tokenFile, file] = [join(directory, 'token'), join(directory, 'config.json')];
    await writeFile(tokenFile, token);
    await writeFile(file, JSON.stringify({ management: { host: '127.0.0.1', port: 9, tokenFile } }));
    for (const choice of [{ file }, { file: '', server: 'http://127.0.0.1:9', tokenFile }]) {
      const error: unknown = await apiOf({ ...choice, env: {} })
        .then((api) => api('stats'))
        .catch((cause: unknown) => cause);
      expect(error).toMatchObject({ exitCode: 1, message: expect.stringContaining(tokenFile) });
      expect(String(error)).not.toContain(token.slice(0, 10));
    }
  },
);
