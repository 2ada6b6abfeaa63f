import * as z from 'zod';
import { isTopicName } from './topics.ts';

const count = z.number().int().nonnegative();

/**
 * How far a label has come: said by one annotator, looked at by a second who did not know the first's word, decided by an expert where the two disagreed.
 */
export const TIERS = ['first', 'crossCheck', 'expert'] as const;
export type Tier = (typeof TIERS)[number];

/** What a label is about; epochs and sequences as in a diagnosis. */
const labelSubjectSchema = z.discriminatedUnion('kind', [
  /** The window that ends there. */
  z.strictObject({ kind: z.literal('window'), epoch: count, endSequence: count }),
  /** Every window that ends there or between, both ends included. */
  z
    .strictObject({ kind: z.literal('span'), epoch: count, fromSequence: count, toSequence: count })
    .refine(({ fromSequence, toSequence }) => fromSequence <= toSequence, 'fromSequence lies behind toSequence'),
  /** The windows that a drift signal gave as evidence. */
  z.strictObject({ kind: z.literal('signal'), signal: z.string().min(1).max(128) }),
]);
export type LabelSubject = z.infer<typeof labelSubjectSchema>;

const common = {
  /** Made by whoever says it; the same in a message that arrives twice, which counts once. A later label of the same annotator and subject replaces the earlier. */
  id: z.string().min(1).max(64),
  stream: z.string().refine(isTopicName),
  /** Clock of whoever says it, ISO 8601 in UTC. */
  at: z.iso.datetime(),
  /** Whoever says it. The gateway puts a keyed pseudonym in its place before it keeps or passes on anything: no name leaves the site. */
  annotator: z.string().min(1).max(64),
  tier: z.enum(TIERS).default('first'),
  subject: labelSubjectSchema,
};
const className = z.string().min(1).max(128);

/**
 * What an annotator says of windows of a stream, towards the gateway on `label/{stream}`. Names a class of the bundle in every case that has one, so that
 * it can be used without the decision that it answers.
 */
export const labelSchema = z.discriminatedUnion('verdict', [
  /** `class` was decided and is right. */
  z.strictObject({ verdict: z.literal('confirm'), class: className, ...common }),
  /** `class` was decided and is wrong; what it is instead is not known. */
  z.strictObject({ verdict: z.literal('reject'), class: className, ...common }),
  /** It is `class`, whatever was decided. */
  z.strictObject({ verdict: z.literal('correct'), class: className, ...common }),
  /** The annotator cannot tell: ask another. */
  z.strictObject({ verdict: z.literal('unsure'), ...common }),
]);
export type Label = z.infer<typeof labelSchema>;

/** The class that a label gives its windows; undefined where it says only what they are not, or nothing. */
export function labelledClass(label: Label): string | undefined {
  return label.verdict === 'confirm' || label.verdict === 'correct' ? label.class : undefined;
}

const LABEL_OUTCOMES = [
  /** Its windows are among the stream's examples now. */
  'taken',
  /** Kept and passed on, but no example: `reject` and `unsure` name no class. */
  'noted',
  /** The same id has come before. */
  'repeated',
  /** The gateway no longer has these windows, or never had them. */
  'windowGone',
  /** The bundle has no such class. */
  'unknownClass',
  /** The bundle has no part to learn with, or the configuration forbids it. */
  'cannotLearn',
  /** The gateway's disk does not take it: it goes to the server alone. */
  'notKept',
] as const;

/** The gateway's answer to a label, on `labelled/{stream}`. */
export const labelReceiptSchema = z.strictObject({
  id: z.string(),
  stream: z.string(),
  at: z.iso.datetime(),
  outcome: z.enum(LABEL_OUTCOMES),
  /** Windows that were found for it. */
  windows: count,
  /** The label as the gateway took it, its annotator a pseudonym: what the server learns from. */
  label: labelSchema,
});
export type LabelReceipt = z.infer<typeof labelReceiptSchema>;
