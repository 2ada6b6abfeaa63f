import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { isTopicName } from '../contracts/topics.ts';
import { readYaml, YamlMistakes } from './yaml-file.ts';

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
  const parsed = await readYaml(path, schema).catch((cause: Error) => {
    if (!(cause instanceof YamlMistakes)) throw cause;
    throw new ConfigurationRefusal(cause.message, { cause });
  });
  return { ...parsed, bundle: resolve(dirname(path), parsed.bundle) };
}
