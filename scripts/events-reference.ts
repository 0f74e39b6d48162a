import { z } from 'zod';
import { eventTypes } from '../src/config/sections/events.ts';
import { dataSchemas, envelope } from '../src/events/event.ts';

interface Described {
  readonly description?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly string[];
  readonly properties?: Readonly<Record<string, Described>>;
  readonly required?: readonly string[];
}

/** The tables of docs/events.md: every type, and the members of its `data`. */
export function eventsReference(): string {
  return eventTypes.map(sectionOf).join('\n');
}

/** The JSON Schema of an event. */
export function eventsSchema(): object {
  const whole = z.union(
    eventTypes.map((type) => envelope.extend({ type: z.literal(type), data: dataSchemas[type] }).describe(type)),
  );
  return { title: 'Events of Layerwell (CloudEvents 1.0)', ...z.toJSONSchema(whole, { reused: 'inline' }) };
}

function sectionOf(type: (typeof eventTypes)[number]): string {
  const schema: Described = JSON.parse(JSON.stringify(z.toJSONSchema(dataSchemas[type], { reused: 'inline' })));
  const rows = Object.entries(schema.properties ?? {}).map(([name, member]) => {
    const isOptional = schema.required?.includes(name) !== true;
    const values = member.enum?.map((value) => `\`${value}\``).join(', ') ?? String(member.type);
    return `| \`${name}\` | ${values}${isOptional ? ', optional' : ''} | ${member.description ?? ''} |`;
  });
  return [
    `### \`${type}\``,
    '',
    schema.description ?? '',
    '',
    '| member of `data` | | |',
    '| --- | --- | --- |',
    ...rows,
    '',
  ].join('\n');
}
