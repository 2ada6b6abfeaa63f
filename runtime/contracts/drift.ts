import * as z from 'zod';

const count = z.number().int().nonnegative();
const share = z.number().min(0).max(1);

/** What can speak for a drift. */
export const STATISTICS = ['novelty', 'shift'] as const;
export type StatisticName = (typeof STATISTICS)[number];

/**
 * `speed`: the spectrum is the old one, stretched. `level`: all of it is louder or quieter, as with another load or sensor gain. `condition`: some
 * part of it is not what it was. `unfamiliar`: the model knows nothing like it, from the first windows on.
 */
const CAUSE_KINDS = ['speed', 'level', 'condition', 'unfamiliar'] as const;
export type CauseKind = (typeof CAUSE_KINDS)[number];

/** What may leave the site of the windows that speak for a drift, the most first. */
export const EVIDENCE_KINDS = ['raw', 'features', 'none'] as const;
export type EvidenceKind = (typeof EVIDENCE_KINDS)[number];

const windowFields = {
  epoch: count,
  /** Index of the first sample after the window within the epoch. */
  endSequence: count,
  novelty: z.number().optional(),
  probabilities: z.array(share),
};

/** int16 codes with one scale a channel: value = code * scale. */
const rawWindow = z.strictObject({
  ...windowFields,
  scales: z.array(z.number().positive()),
  /** [window, channels], little-endian, base64. */
  codes: z.base64(),
});
const featuresWindow = z.strictObject({
  ...windowFields,
  /** Log novelty, and the embedding in eight random directions. */
  features: z.array(z.number().nullable()),
});

/**
 * A stream is no longer what the model was commissioned on: said once a cause, waits on disk for the broker. Which fields leave is the site's word:
 * `evidence` without samples or without windows, `stream` as a pseudonym.
 */
export const driftSignalSchema = z.strictObject({
  /** The same in a message that arrives twice. */
  id: z.string(),
  /** The stream, or its pseudonym where names do not leave the site. */
  stream: z.string(),
  /** Keyed pseudonym of the asset: the same in every message of this site, and what an erasure names. */
  asset: z.string(),
  /** Clock of the gateway, ISO 8601 in UTC. */
  at: z.iso.datetime(),
  cause: z.strictObject({
    statistic: z.enum(STATISTICS),
    kind: z.enum(CAUSE_KINDS),
    /** Name of the channel, and band in Hz, that changed most, and by how many decibels. */
    channel: z.string(),
    bandHz: z.tuple([z.number(), z.number()]),
    changeDb: z.number(),
    /** New over old speed, where the kind is `speed`. */
    speedRatio: z.number().positive().optional(),
  }),
  /** A change of operation that the decisions have outlived. */
  benign: z.boolean(),
  /** 0 at the threshold, towards 1 far above it. */
  severity: share,
  /** Accuracy that the probabilities promise of themselves. */
  estimatedAccuracy: z.strictObject({ before: share, now: share }),
  /** Class that most windows were decided for. */
  decided: z.strictObject({ before: z.string(), now: z.string() }),
  /** Digest of the bundle that decided, and of the stream's own adapter where it has one. */
  model: z.string(),
  adapter: z.string().optional(),
  /** Windows to a false alarm that were promised, windows of this stream that were watched, and signals of it. */
  budget: z.strictObject({ runLength: z.number().positive(), windows: count, signals: count }),
  evidence: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('raw'), windows: z.array(rawWindow) }),
    z.strictObject({ kind: z.literal('features'), windows: z.array(featuresWindow) }),
    z.strictObject({ kind: z.literal('none') }),
  ]),
});

export type DriftSignal = z.infer<typeof driftSignalSchema>;
