import * as z from 'zod';
import { check, mistakesLine } from '../../models/checks/mistakes.ts';
import { sha256Schema } from '../../models/checks/sha256.ts';
import { isTopicName } from '../contracts/topics.ts';

/** Version of the file, and the only one that is read. */
const FORMAT_VERSION = 1;

const schema = z.strictObject({
  formatVersion: z.literal(FORMAT_VERSION),
  stream: z.string().refine(isTopicName, 'is not a stream name'),
  /** The base whose features were averaged: another has other features. */
  base: sha256Schema,
  /** Healthy windows that were averaged. */
  windows: z.number().int().positive(),
  values: z.array(z.number()).min(1).max(65_536),
});

/** The commissioning reference of one stream, as it is kept. */
export interface StreamReference {
  readonly stream: string;
  readonly base: string;
  readonly windows: number;
  /** [R] */
  readonly values: Float32Array;
}

export function encodeReference({ stream, base, windows, values }: StreamReference): string {
  return `${JSON.stringify({ formatVersion: FORMAT_VERSION, stream, base, windows, values: Array.from(values) })}\n`;
}

/** @throws Error with every mistake in one line */
export function decodeReference(text: string): StreamReference {
  const checked = check(schema, JSON.parse(text));
  if ('mistakes' in checked) throw new Error(mistakesLine(checked.mistakes, 'file'));
  const { stream, base, windows, values } = checked.data;
  return { stream, base, windows, values: Float32Array.from(values) };
}
