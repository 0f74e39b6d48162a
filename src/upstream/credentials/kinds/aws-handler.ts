import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { CloudAgents } from './cloud-agents.ts';

/** Sends what AWS's SDK asks by way of {@link CloudAgents}: its own APIs, and STS for roles. Metadata services it asks by itself. */
export class AwsHandler extends NodeHttpHandler {
  readonly #agents: CloudAgents;

  constructor(agents: CloudAgents) {
    super();
    this.#agents = agents;
  }

  override async handle(...[request, options]: Parameters<NodeHttpHandler['handle']>) {
    const { protocol, hostname, port } = request;
    const agent = this.#agents(new URL(`${protocol}//${hostname}:${port ?? ''}`));
    const handler = new NodeHttpHandler({ httpAgent: agent, httpsAgent: agent });
    return handler.handle(request, options);
  }
}
