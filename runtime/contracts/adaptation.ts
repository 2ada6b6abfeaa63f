import * as z from 'zod';
import { sha256Schema } from '../../models/checks/sha256.ts';

const count = z.number().int().nonnegative();
const share = z.number().min(0).max(1);

/** One label as an adapter's statement names it. */
const labelProvenanceSchema = z.strictObject({
  id: z.string(),
  annotator: z.string(),
  tier: z.string(),
  class: z.string(),
  windows: count,
});
export type LabelProvenance = z.infer<typeof labelProvenanceSchema>;

/** Accuracies before and after, on windows that nothing was learned from. */
const guardFiguresSchema = z.strictObject({
  /** Replay windows that were held out: the base, what decided until now, the candidate. */
  known: z.strictObject({ windows: count, base: share, before: share, after: share }),
  /** Labelled windows of the stream that were held out; `windows` is 0 where there are too few labels to hold any out. */
  local: z.strictObject({ windows: count, before: share, after: share }),
  /** Known answers that the base is sure of, and of those the ones that the candidate decides alike. */
  answers: z.strictObject({ windows: count, kept: count }),
});
export type GuardFigures = z.infer<typeof guardFiguresSchema>;

/**
 * What a gateway says of an adapter that it has learned; signed with the gateway's Ed25519 key. It travels within the adapter's own file, as the texts
 * `statement` (these bytes are signed) and `signature` (base64) of the safetensors metadata, beside `base`.
 */
export const adapterStatementSchema = z.strictObject({
  site: z.string(),
  gateway: z.string(),
  stream: z.string(),
  /** Base that it fits (Manifest.base), and the bundle that it was learned with. */
  base: sha256Schema,
  bundle: sha256Schema,
  /** SHA-256 of the tensors' float32 numbers, little-endian, in the order of the manifest's adapterTensors. */
  values: sha256Schema,
  /** SHA-256 of the file that it was learned from; absent where it was the base. */
  parent: sha256Schema.optional(),
  /** Counts a stream's adapters. */
  version: z.number().int().positive(),
  at: z.iso.datetime(),
  labels: z.array(labelProvenanceSchema),
  guard: guardFiguresSchema,
  /** The gateway's public key: 32 bytes, base64. Whether it is the gateway's own, the reader must know from elsewhere. */
  publicKey: z.string(),
});
export type AdapterStatement = z.infer<typeof adapterStatementSchema>;

const ADAPTATION_OUTCOMES = [
  /** Passed the guard; runs beside what decides. */
  'shadow',
  /** Decides now. */
  'active',
  /** The guard, or the shadow, was against it. */
  'refused',
  /** Time or CPU was used up, or it failed. */
  'abandoned',
  /** An operator went back. */
  'reverted',
] as const;

/** What became of an attempt to learn, on `adaptation/{stream}`; each arrives, at least once and in order. */
export const adaptationReportSchema = z.strictObject({
  /** The same in a message that arrives twice. */
  id: z.string(),
  stream: z.string(),
  at: z.iso.datetime(),
  outcome: z.enum(ADAPTATION_OUTCOMES),
  /** Why, where it is not `active`. */
  reason: z.string().optional(),
  /** SHA-256 of the adapter's file that decided before, and of the one in question; absent for the base. */
  before: sha256Schema.optional(),
  adapter: sha256Schema.optional(),
  /** Ids of the labels that were learned from. */
  labels: z.array(z.string()),
  guard: guardFiguresSchema.optional(),
  /** Live windows that both decided, the share decided alike, and the mean probability of what each decided. */
  shadow: z.strictObject({ windows: count, agreement: share, before: share, after: share }).optional(),
  /** Of the learning thread; `cpu` is absent where the system does not tell. */
  seconds: z.strictObject({ wall: z.number().nonnegative(), cpu: z.number().nonnegative().optional() }).optional(),
});
export type AdaptationReport = z.infer<typeof adaptationReportSchema>;
