import { image, multiPlatformImage } from '../support/images.ts';
import { describeWithTools } from '../support/tools.ts';
import { skopeoClient } from './direct.ts';
import { pushed, testPulls } from './pulls.ts';

const suite = (): void =>
  testPulls({
    connect: ({ host }) => skopeoClient(host),
    kinds: {
      'an image of two platforms, both of them': pushed(multiPlatformImage()),
      'an image with a zstd layer': pushed(image({ compression: 'zstd' })),
    },
  });

describeWithTools(['skopeo', 'docker-registry'], 'skopeo', suite);
