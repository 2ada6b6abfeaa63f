import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { isTopicName } from '../contracts/topics.ts';

const topicName = z.string().refine(isTopicName, 'must be letters, digits, ".", "_" or "-", at most 64');

const schema = z.strictObject({
  site: topicName,
  gateway: topicName,
  /** Bundle folder; relative to the configuration file. */
  bundle: z.string().min(1),
  broker: z.strictObject({ url: z.url({ protocol: /^(mqtts?|wss?)$/ }) }),
  /** Ports that speak Tremolo frames; a port's streams are called `name-<stream id>`. */
  serial: z
    .array(z.strictObject({ name: topicName, path: z.string().min(1), baudRate: z.number().int().positive().default(115_200) }))
    .default([]),
  engine: z.enum(['onnxruntime', 'wasm']).default('onnxruntime'),
  /** Rings are made for so many streams at the start. */
  largestStreams: z.number().int().positive().max(10_000).default(256),
});

export type GatewayConfiguration = z.infer<typeof schema>;

/** A configuration that is refused, with every mistake and its line. */
export class ConfigurationRefusal extends Error {
  readonly code = 'config/invalid';
}

/** Reads gateway.yaml. @throws ConfigurationRefusal with all mistakes in one line */
export async function readConfiguration(path: string): Promise<GatewayConfiguration> {
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new ConfigurationRefusal(`${path} cannot be read (${cause.code}); name a gateway.yaml`, { cause });
  });
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  if (document.errors.length > 0)
    throw new ConfigurationRefusal(`${path}: ${document.errors.map(({ message }) => message.split('\n')[0]).join('; ')}`);
  const parsed = schema.safeParse(document.toJS() ?? {});
  if (!parsed.success) {
    const mistakes = parsed.error.issues.map(({ path: at, message }) => {
      const node = document.getIn(at as string[], true) as { range?: [number] } | undefined;
      const line = node?.range ? `line ${lines.linePos(node.range[0]).line}, ` : '';
      return `${line}${at.join('.') || 'top level'}: ${message}`;
    });
    throw new ConfigurationRefusal(`${path}: ${mistakes.join('; ')}`);
  }
  return { ...parsed.data, bundle: resolve(dirname(path), parsed.data.bundle) };
}
