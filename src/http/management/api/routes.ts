import { z } from 'zod';
import { type ArchivesNeeds, archiveRoutes } from './content/archive-routes.ts';
import { type CatalogueNeeds, catalogueRoutes } from './catalogue-routes.ts';
import { type ImagesNeeds, imageRoutes } from './image-routes.ts';
import { type MinutesNeeds, minutesRoutes } from './minutes-routes.ts';
import { type PinsNeeds, pinsRoutes } from './content/pins-routes.ts';
import { type PurgeNeeds, purgeRoutes } from './content/purge-routes.ts';
import { type RefreshNeeds, refreshRoutes } from './content/refresh-routes.ts';
import { type JobsNeeds, jobsRoutes } from './jobs-routes.ts';
import { type RequestsNeeds, requestsRoutes } from './requests-routes.ts';
import { type Route, route } from './route.ts';
import { type StorageNeeds, storageRoutes } from './store/storage-routes.ts';
import { type Reloaded, type Stats, type Upstreams, reloaded, stats, upstreams } from './schemas.ts';
import { type EventsNeeds, eventsRoutes } from './events-routes.ts';

/** What the API may ask of the mirror: the needs of all its routes. */
export interface Administration
  extends ArchivesNeeds,
    CatalogueNeeds,
    ImagesNeeds,
    MinutesNeeds,
    PinsNeeds,
    PurgeNeeds,
    RefreshNeeds,
    JobsNeeds,
    StorageNeeds {
  stats(): Promise<Stats>;
  upstreams(): Promise<Upstreams>;
  readonly events: EventsNeeds['events'];
  readonly requests: RequestsNeeds['requests'];
  /** Reads the configuration file again. @throws Problem `refused` with every problem of the file. */
  reload(): Promise<Reloaded>;
}

const nothing = z.strictObject({});
const noBody = z.strictObject({}).optional();

/** Every path of the API, in the order of its description. */
export const routes: readonly Route<Administration>[] = [
  route({
    method: 'get',
    path: '/api/v1/stats',
    summary: 'What the mirror has served since it started, and what its store holds now.',
    pathParameters: nothing,
    query: nothing,
    body: noBody,
    answer: stats,
    run: (_, administration: Administration) => administration.stats(),
  }),
  ...minutesRoutes,
  route({
    method: 'get',
    path: '/api/v1/upstreams',
    summary: 'The upstreams of the configuration: whether they answer, their circuits, rate limits and last failures.',
    pathParameters: nothing,
    query: nothing,
    body: noBody,
    answer: upstreams,
    run: (_, administration: Administration) => administration.upstreams(),
  }),
  ...eventsRoutes,
  ...storageRoutes,
  ...catalogueRoutes,
  ...imageRoutes,
  ...purgeRoutes,
  ...refreshRoutes,
  ...pinsRoutes,
  ...jobsRoutes,
  ...archiveRoutes,
  ...requestsRoutes,
  route({
    method: 'post',
    path: '/api/v1/reload',
    summary: 'Reads the configuration file again, as SIGHUP does. 422 if it is refused: the old one stays in use.',
    pathParameters: nothing,
    query: nothing,
    body: noBody,
    answer: reloaded,
    run: (_, administration: Administration) => administration.reload(),
  }),
];
