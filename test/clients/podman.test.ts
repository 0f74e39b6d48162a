import { image, multiPlatformImage } from '../support/images.ts';
import { describeWithTools } from '../support/tools.ts';
import { containersClient } from './containers.ts';
import { pushed, testPulls } from './pulls.ts';

const suite = (): void =>
  testPulls({
    connect: ({ host }) => containersClient('podman', { mirror: host }),
    kinds: {
      'an image of two platforms': pushed(multiPlatformImage()),
      'an image with a zstd layer': pushed(image({ compression: 'zstd' })),
    },
  });

describeWithTools(['podman', 'docker-registry'], 'podman', suite, { asRoot: true });
