import { expect, test } from 'vitest';
import { signatureHeaders, signingKey } from '../../../src/events/webhooks/signature.ts';

test('the example of Standard Webhooks has its signature', () => {
  const key = signingKey('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
  const signed = { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', body: '{"test": 2432232314}', atMs: 1_614_265_330_999 };
  const signature = 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=';
  expect(signatureHeaders(signed, [key])).toEqual({
    'webhook-id': signed.id,
    'webhook-timestamp': '1614265330',
    'webhook-signature': signature,
  });
  const two = signatureHeaders(signed, [key, Buffer.alloc(24)])['webhook-signature'];
  expect(two?.split(' ')).toEqual([signature, expect.stringMatching(/^v1,[A-Za-z0-9+/]{43}=$/)]);
});

test('a secret without its prefix is taken too, and one that is no key is refused without being named', () => {
  const text = Buffer.alloc(32, 7).toString('base64');
  expect(signingKey(text)).toEqual(signingKey(`whsec_${text}`));
  const short = Buffer.alloc(23).toString('base64');
  const long = Buffer.alloc(65).toString('base64');
  for (const bad of ['', 'whsec_', 'not base64 at all, but long enough for a key', short, long]) {
    expect(() => signingKey(bad)).toThrow(/^expected 24 to 64 bytes in base64, after "whsec_"$/);
  }
});
