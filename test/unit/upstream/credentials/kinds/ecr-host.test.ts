import { expect, test } from 'vitest';
import { parseEcrHost } from '../../../../../src/upstream/credentials/kinds/ecr-host.ts';

const plain = { useFipsEndpoint: false, useDualstackEndpoint: false };

test.each([
  { host: '123456789012.dkr.ecr.eu-west-1.amazonaws.com', expected: { ...plain, region: 'eu-west-1' } },
  { host: '123456789012.DKR.ecr.EU-west-1.amazonaws.com', expected: { ...plain, region: 'eu-west-1' } },
  {
    host: '123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com',
    expected: { ...plain, region: 'us-gov-west-1', useFipsEndpoint: true },
  },
  { host: '123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn', expected: { ...plain, region: 'cn-north-1' } },
  {
    host: '123456789012.dkr-ecr.eu-west-1.on.aws',
    expected: { ...plain, region: 'eu-west-1', useDualstackEndpoint: true },
  },
  {
    host: '123456789012.dkr-ecr-fips.us-east-1.on.aws',
    expected: { region: 'us-east-1', useFipsEndpoint: true, useDualstackEndpoint: true },
  },
  {
    host: '123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn',
    expected: { ...plain, region: 'cn-north-1', useDualstackEndpoint: true },
  },
  { host: '123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov', expected: { ...plain, region: 'us-iso-east-1' } },
  { host: '123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu', expected: { ...plain, region: 'eusc-de-east-1' } },
  { host: '12345.dkr.ecr.eu-west-1.amazonaws.com', expected: undefined },
  { host: '123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example', expected: undefined },
  { host: 'x.123456789012.dkr.ecr.eu-west-1.amazonaws.com', expected: undefined },
  { host: 'public.ecr.aws', expected: undefined },
])('$host: $expected', ({ host, expected }) => {
  expect(parseEcrHost(host)).toEqual(expected);
});
