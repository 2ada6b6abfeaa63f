import * as z from 'zod';
import { parseJsonPath } from './json-path.ts';

const MAX_CHANNELS = 16;

/** One value for all channels, or one for each. */
const perChannel = z.union([z.number(), z.array(z.number())]);
const all = (value: number | readonly number[], holds: (one: number) => boolean) => [value].flat().every(holds);

const paths = z.union([z.string(), z.array(z.string())]).superRefine((value, context) => {
  for (const path of [value].flat()) {
    try {
      parseJsonPath(path);
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
    }
  }
});

const every = {
  channels: z.number().int().min(1).max(MAX_CHANNELS),
  /** Samples a second and channel. Foreign sources do not say it themselves. */
  sampleRateHz: z.number().positive(),
  /** Physical units per unit of the source's numbers, for all channels or for each. Negative for a sensor mounted upside down. */
  scale: perChannel.refine((value) => all(value, (one) => one !== 0), 'must not be zero').default(1),
};

/** What numbers other than int16 need as well. */
const ranged = {
  ...every,
  /** The largest magnitude that a channel can have, in physical units: becomes 32,767 counts, and what is beyond is clipped and counted. */
  range: perChannel.refine((value) => all(value, (one) => one > 0), 'must be above zero'),
};

const raw = {
  /** Hexadecimal bytes before each sample, such as `aa55`. */
  sync: z
    .string()
    .regex(/^(?:[0-9a-fA-F]{2}){1,8}$/, 'must be 1 to 8 bytes in hexadecimal')
    .optional(),
};

const json = z.strictObject({
  format: z.literal('json'),
  /** One path to the samples, or a path a channel; see `JsonReader`. */
  path: paths,
  ...ranged,
});

const csv = z.strictObject({
  format: z.literal('csv'),
  delimiter: z
    .string()
    .regex(/^[^\w\r\n"+.-]$/, 'must be one character that no number has')
    .default(','),
  decimal: z.enum(['.', ',']).default('.'),
  /** Column of each channel, counted from 0; without it a line has the channels and nothing else. */
  columns: z.array(z.number().int().min(0).max(255)).optional(),
  ...ranged,
});

const int16 = z.strictObject({ format: z.literal('int16'), ...raw, ...every });
const wide = z.strictObject({ format: z.enum(['int32', 'float32']), ...raw, ...ranged });

/**
 * How a sensor that does not speak Tremolo frames writes its samples: a part of gateway.yaml.
 *
 * ```yaml
 * format: csv
 * delimiter: ";"
 * decimal: ","
 * columns: [1, 2, 3]
 * channels: 3
 * sampleRateHz: 1000
 * scale: 9.80665
 * range: 160
 * ```
 */
export const foreignFormatSchema = z.discriminatedUnion('format', [json, csv, int16, wide]).superRefine((format, context) => {
  const demand = (holds: boolean, path: string, message: string) => {
    if (!holds) context.addIssue({ code: 'custom', path: [path], message });
  };
  const onePerChannel = (name: string, list: unknown) =>
    demand(!Array.isArray(list) || list.length === format.channels, name, `must be one, or one for each of ${format.channels} channels`);
  onePerChannel('scale', format.scale);
  if ('range' in format) onePerChannel('range', format.range);
  if (format.format === 'json') onePerChannel('path', format.path);
  if (format.format === 'csv') {
    const { columns, delimiter, decimal } = format;
    onePerChannel('columns', columns);
    demand(new Set(columns).size === (columns?.length ?? 0), 'columns', 'must differ');
    demand(delimiter !== decimal, 'delimiter', 'must differ from the decimal point');
  }
});

export type ForeignFormat = z.output<typeof foreignFormatSchema>;
export type JsonFormat = z.output<typeof json>;
export type CsvFormat = z.output<typeof csv>;
export type RawFormat = z.output<typeof int16> | z.output<typeof wide>;
