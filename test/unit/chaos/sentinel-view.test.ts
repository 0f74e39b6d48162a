import { expect, test } from 'vitest';
import { asSeen } from '../../../chaos/cluster/sentinel-view.ts';

test('a replica sees its own links where a Sentinel names servers, and nothing else is changed', () => {
  const ports = new Map([[20_001, 30_001]]);
  const reply = (port: string) => Buffer.from(`*2\r\n$9\r\n127.0.0.1\r\n$5\r\n${port}\r\n`);
  expect(asSeen(reply('20001'), ports)).toEqual(reply('30001'));
  expect(asSeen(reply('20002'), ports)).toEqual(reply('20002'));
  const other = Buffer.from('$6\r\n200010\r\n:20001\r\n');
  expect(asSeen(other, ports)).toEqual(other);
});
