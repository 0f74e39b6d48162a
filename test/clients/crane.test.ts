import { artifact, emptyBlobArtifact, multiPlatformImage } from '../support/images.ts';
import { describeWithTools } from '../support/tools.ts';
import { craneClient } from './direct.ts';
import { pushed, testPulls } from './pulls.ts';

const suite = (): void =>
  testPulls({
    connect: ({ host }) => craneClient(host),
    kinds: {
      'an image of two platforms, both of them': pushed(multiPlatformImage()),
      'an artifact of one layer': pushed(artifact()),
      'an artifact with an empty blob': pushed(emptyBlobArtifact()),
    },
  });

describeWithTools(['crane', 'docker-registry'], 'crane', suite);
