import { expect, test } from 'vitest';
import { apiOf } from '../../../../src/commands/api/client.ts';
import { startEndlessAnswer } from '../../../support/endless-answer.ts';

test('a listener that answers without an end is not the API of a mirror', async () => {
  const { port, sentBytes } = await startEndlessAnswer();
  const api = await apiOf({ file: '', env: {}, server: `http://127.0.0.1:${port}` });
  await expect(api('stats')).rejects.toThrow('its answer is too long');
  expect(sentBytes()).toBeLessThan(60_000_000);
});
