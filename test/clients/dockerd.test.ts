import { image, multiPlatformImage } from '../support/images.ts';
import { describeWithTools } from '../support/tools.ts';
import { startDockerd } from './dockerd.ts';
import { pushed, testPulls } from './pulls.ts';

const suite = (): void =>
  testPulls({
    connect: ({ url }) => startDockerd(url),
    kinds: {
      'an image of two platforms': pushed(multiPlatformImage()),
      'an image in the Docker format': pushed(image({ format: 'docker', layers: 3 })),
    },
  });

describeWithTools(['dockerd', 'docker', 'docker-registry'], 'dockerd', suite, { asRoot: true });
