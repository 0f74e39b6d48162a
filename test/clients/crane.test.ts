import { artifact, emptyBlobArtifact, image, multiPlatformImage } from '../support/images.ts';
import { describeWithTools } from '../support/tools.ts';
import { craneClient } from './direct.ts';
import { pushed, testPulls } from './pulls.ts';

const suite = (): void => {
  testPulls({
    connect: ({ host }) => craneClient(host),
    kinds: {
      'an image of two platforms, both of them': pushed(multiPlatformImage()),
      'an artifact of one layer': pushed(artifact()),
      'an artifact with an empty blob': pushed(emptyBlobArtifact()),
    },
  });

  testPulls({
    connect: async ({ host }) => {
      const client = await craneClient(host);
      return { ...client, pull: ({ tag }) => client.pull({ repository: 'app', tag }) };
    },
    as: { repository: 'library/app', tag: '1' },
    kinds: { 'an official image by its short name': pushed(image()) },
  });
};

describeWithTools(['crane', 'docker-registry'], 'crane', suite);
