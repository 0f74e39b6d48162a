import { describeWithTools } from '../support/tools.ts';
import { helmClient, pushedByHelm } from './helm.ts';
import { testPulls } from './pulls.ts';

const suite = (): void =>
  testPulls({
    connect: ({ host }) => helmClient(host),
    as: { repository: 'charts/app', tag: '1.2.3' },
    kinds: { 'a chart': pushedByHelm },
  });

describeWithTools(['helm', 'docker-registry'], 'helm', suite);
