import * as z from 'zod';
import { check, optionMistakes } from '../../../models/checks/mistakes.ts';
import { readYaml } from '../../../runtime/io/yaml-file.ts';
import { Refusal } from '../../refusal.ts';
import { FORMAT_FIELDS } from '../recording-set.ts';

/** Fields of a recording that conditions may not be called by. */
const RESERVED: ReadonlySet<string> = new Set([...FORMAT_FIELDS, 'recorded_label', 'resampled_from_hz']);

const positive = z.number().positive();
const factor = z.number().refine((value) => Number.isFinite(value) && value !== 0, 'must be a number other than 0');
const name = z.string().min(1);

/** Conditions: constants, or a single number that lies in the file (MATLAB) and whose name matches a glob. */
const conditions = z.record(
  name.refine((key) => !RESERVED.has(key), 'is a field of the format; choose another name'),
  z.union([z.string(), z.number(), z.boolean(), z.strictObject({ scalar: name })]),
);

const pattern = name.transform((text, context) => {
  let compiled: RegExp;
  try {
    compiled = new RegExp(text, 'u');
  } catch (cause) {
    context.addIssue({ code: 'custom', message: `is no regular expression: ${(cause as Error).message}` });
    return z.NEVER;
  }
  const groups = [...text.matchAll(/\(\?<([A-Za-z_$][\w$]*)>/g)].map(([, group]) => group);
  const reserved = groups.filter((group) => group !== 'label' && RESERVED.has(group));
  if (reserved.length > 0) context.addIssue({ code: 'custom', message: `group ${reserved.join(', ')} is a field of the format` });
  if (groups.length === 0) context.addIssue({ code: 'custom', message: 'has no named group; write for instance (?<label>[a-z]+)' });
  return compiled;
});

const ofFile = {
  /** Class of all files; null: they have none. */
  label: name.nullable(),
  /** Columns to take: by name, or channel name: glob over column names. */
  channels: z.union([z.array(name).min(1).max(16), z.record(name, name)]),
  /** Samples a second, of files that do not state it. */
  rate: positive,
  /** What a value is multiplied by to be in `unit`: one factor, or one a channel. */
  scale: z.union([factor, z.record(name, factor)]),
  unit: z.union([name, z.record(name, name)]),
  conditions,
  format: z.enum(['csv', 'wav', 'parquet', 'matlab']),
  csv: z.strictObject({
    delimiter: z.string().length(1).optional(),
    header: z.boolean().optional(),
    decimal: z.enum(['.', ',']).optional(),
    skipLines: z.number().int().nonnegative().optional(),
  }),
};

const schema = z.strictObject({
  ...z.object(ofFile).partial().shape,
  name: name.optional(),
  title: name.optional(),
  source: name.optional(),
  license: name.optional(),
  citation: name.optional(),
  notes: z.array(name).optional(),
  /** Expressions over a file's path below the source, of which the first that matches counts: group `label`, other groups are conditions. */
  pattern: z.union([pattern.transform((one) => [one]), z.array(pattern).min(1)]).optional(),
  /** Other names for labels: glob over what folder or pattern gave, then the class. */
  labels: z.record(name, name).optional(),
  dtype: z.enum(['float32', 'int16']).optional(),
  /** Exceptions, by a glob over the path below the source; of several that match, later ones win. */
  files: z
    .array(
      z.strictObject({
        ...z.object(ofFile).partial().shape,
        match: name,
        /** Leaves the file out, and says why. */
        skip: z.union([z.literal(true), name]).optional(),
      }),
    )
    .optional(),
});

/** How source files become recordings: what a mapping file or the command line says, all of it optional. */
export type Mapping = z.infer<typeof schema>;

/** What may be said of a single file. */
export type FileRules = Pick<Mapping, keyof typeof ofFile>;

/** Checks a mapping that was put together from options. @throws Refusal usage/mapping with all mistakes */
export function checkMapping(value: unknown): Mapping {
  const checked = check(schema, value);
  if ('data' in checked) return checked.data;
  throw new Refusal('usage/mapping', optionMistakes(checked.mistakes));
}

/** Reads a mapping file. @throws Refusal import/map with every mistake and its line */
export async function readMapping(path: string): Promise<Mapping> {
  return readYaml(path, schema, (line, cause) => new Refusal('import/map', line, { cause }));
}
