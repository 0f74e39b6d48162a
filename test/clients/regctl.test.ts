import { artifact, image, referrerOf } from '../support/images.ts';
import { describeWithTools } from '../support/tools.ts';
import { regctlClient } from './direct.ts';
import { pushed, testPulls } from './pulls.ts';

const document = artifact();

const suite = (): void =>
  testPulls({
    connect: ({ host }) => regctlClient(host),
    kinds: {
      'an artifact with what refers to it': pushed(document, [referrerOf(document.manifest)]),
      'an image with a layer named by its sha512': pushed(image({ algorithm: 'sha512' })),
    },
  });

describeWithTools(['regctl', 'docker-registry'], 'regctl', suite);
