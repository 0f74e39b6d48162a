import { describe } from 'vitest';
import { image, multiPlatformImage } from '../support/images.ts';
import { describeWithTools } from '../support/tools.ts';
import { startContainerd } from './containerd.ts';
import { pushed, testPulls } from './pulls.ts';

const suite = (): void => {
  describe('from the default upstream', () => {
    testPulls({
      connect: async ({ url }) => (await startContainerd(url))('docker.io'),
      kinds: {
        'an image of two platforms': pushed(multiPlatformImage()),
        'an image with a zstd layer': pushed(image({ compression: 'zstd' })),
      },
    });
  });

  describe('from another upstream, which `?ns=` names', () => {
    testPulls({
      connect: async ({ url }) => (await startContainerd(url))('quay.io'),
      registry: 'quay.io',
      as: { repository: 'team/app', tag: '1' },
      kinds: { 'an image': pushed(image()) },
    });
  });
};

describeWithTools(['containerd', 'ctr', 'docker-registry'], 'containerd', suite, { asRoot: true });
