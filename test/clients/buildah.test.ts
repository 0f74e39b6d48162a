import { image } from '../support/images.ts';
import { describeWithTools } from '../support/tools.ts';
import { containersClient } from './containers.ts';
import { pushed, testPulls } from './pulls.ts';

const suite = (): void =>
  testPulls({
    // The registry's name leads the path: so one mirror stands before many registries.
    connect: ({ host }) => containersClient('buildah', { registry: 'quay.io', mirror: `${host}/quay.io` }),
    registry: 'quay.io',
    as: { repository: 'team/app', tag: '1' },
    kinds: {
      'an image in the Docker format': pushed(image({ format: 'docker', layers: 3 })),
    },
  });

describeWithTools(['buildah', 'docker-registry'], 'buildah', suite, { asRoot: true });
