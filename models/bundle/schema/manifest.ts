import * as z from 'zod';
import { check, mistakesLine } from '../../checks/mistakes.ts';
import { sha256Schema } from '../../checks/sha256.ts';
import { BundleRefusal } from './refusal.ts';

/** Version of the bundle format that this program writes, and the only one it reads. */
export const FORMAT_VERSION = 1;

const positive = z.number().int().positive();
/** A plain name: no folder, no way out of one. */
const fileName = z.string().regex(/^[a-z0-9][a-z0-9.-]*$/, 'is not a plain file name');
const tokens = z
  .array(z.enum(['frames', 'spectrum', 'envelope', 'statistics', 'patches', 'tapered', 'bands', 'demodulation', 'shape']))
  .min(1);
const networkCommon = {
  window: positive,
  channels: positive.max(16),
  classes: positive,
  tokens,
  patch: positive,
  hop: positive,
};

const networkSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('attention'),
    ...networkCommon,
    width: positive,
    layers: positive,
    heads: positive,
    headDepth: positive,
    feedForward: positive,
  }),
  z.strictObject({ kind: z.literal('mixer'), ...networkCommon, width: positive, layers: positive, tokenHidden: positive }),
  z.strictObject({ kind: z.literal('linear'), ...networkCommon, reference: z.boolean().optional() }),
]);

const adapterSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('lora'),
    rank: positive.max(64),
    alpha: z.number().positive(),
    rankStabilized: z.boolean(),
    targets: z.array(z.string().min(1)).min(1),
  }),
  z.strictObject({ kind: z.literal('prefix'), length: positive.max(64) }),
  z.strictObject({ kind: z.literal('head') }),
]);

const probability = z.number().min(0).max(1);

/** How windows become decisions and alarms; runtime/decide/settings.ts has the defaults and the meanings. */
const decisionSchema = z.strictObject({
  /** Class of a healthy machine. */
  normal: z.string().min(1).optional(),
  /** 1 - P(normal) of healthy calibration windows: all of them, or quantiles that stand for them. */
  healthyScores: z.array(probability).min(1).max(256).optional(),
  smoothingWindows: positive.max(1024).optional(),
  alarmBelow: probability.optional(),
  clearFrom: probability.optional(),
  significance: probability.optional(),
  onDelay: positive.optional(),
  offDelay: positive.optional(),
  unknownBelow: probability.optional(),
  noveltyAbove: z.number().optional(),
  commissioningWindows: positive.optional(),
  healthyFrom: probability.optional(),
});

/** How different the back-up is from the primary, as measured on the robustness test set. */
const dualSchema = z.strictObject({
  windows: positive,
  /** 1 - mean cosine of the two error vectors p - one-hot: 0 where both err alike, 1/2 where they err into other classes. */
  difference: z.number().min(0).max(2),
  /** Shares of the primary's errors at which the back-up decides the same wrong class, and any wrong class. */
  repeatedErrors: probability,
  sharedErrors: probability,
  /** Switches a window while nothing was wrong with the primary. */
  falseSwitchRate: probability,
  /** Share of windows on which the back-up runs while the primary is well. */
  backupShare: probability,
});

/** How drift is told from chance: statistics are relative to a stream's own first windows, so thresholds are all that travels. */
const driftSchema = z.strictObject({
  /** Windows of a stream's baseline. */
  referenceWindows: positive.min(16),
  /** What a statistic must exceed for a false alarm every `runLength` windows, calibrated on blocks of held-out recordings; ascending. */
  thresholds: z
    .array(z.strictObject({ runLength: z.number().positive(), novelty: z.number().positive(), shift: z.number().positive() }))
    .min(1)
    .max(16),
});

/** The most that may leave a site of what this bundle sees there; a gateway's configuration may allow less, never more. Operators and assets leave as pseudonyms. */
const leavesSchema = z.strictObject({
  /** Of the windows that speak for a drift: samples, features or nothing. */
  evidence: z.enum(['raw', 'features', 'none']),
  /** Whether streams leave under their own names. */
  names: z.enum(['stream', 'pseudonym']),
});

const filesSchema = z.record(fileName, z.strictObject({ bytes: z.number().int().nonnegative(), sha256: sha256Schema }));

export const manifestSchema = z.strictObject({
  formatVersion: z.literal(FORMAT_VERSION),
  name: z.string().min(1),
  recipe: z.strictObject({
    sampleRateHz: z.number().positive(),
    window: positive,
    stride: positive,
    /** Channel names in the order of the window's last axis. */
    channels: z.array(z.string().min(1)).min(1).max(16),
  }),
  /** In the order of the logits. */
  classes: z.array(z.string().min(1)).min(2),
  network: networkSchema,
  backup: networkSchema.optional(),
  adapter: adapterSchema,
  /** The tensors of one adapter in the order in which they lie in a row of the bank. */
  adapterTensors: z.array(z.strictObject({ name: z.string().min(1), shape: z.array(positive) })).min(1),
  /** Divides the logits; already inside the graph, stated for readers. */
  temperature: z.number().positive(),
  /**
   * Where the graph has the output `novelty`: a window like those that the threshold was chosen on scores above it with a probability of at most
   * `share`.
   */
  novelty: z
    .strictObject({
      threshold: z.number().nonnegative(),
      share: z.number().gt(0).lt(1),
      /** Label of the only class that was recorded, where `normal` and `novel` are decided by the threshold. */
      known: z.string().min(1).optional(),
    })
    .optional(),
  /**
   * Where the graph has the inputs `referenceBank` and `referenceIndex`: a machine is decided on only after it has been commissioned, that is, after
   * the mean of the output `features` over so many of its healthy windows became its row of the bank.
   */
  reference: z
    .strictObject({
      windows: positive,
      /** Field of the recording set that told machines apart. */
      key: z.string().min(1).optional(),
    })
    .optional(),
  /** SHA-256 over the deciding graph and the weight file: adapters and the adaptation graph fit this base and no other. */
  base: sha256Schema,
  decision: decisionSchema.optional(),
  dual: dualSchema.optional(),
  /** Absent where there was too little to calibrate on: a gateway then has thresholds of its own. */
  drift: driftSchema.optional(),
  /** Absent where the gateway's configuration alone says what leaves its site. */
  leaves: leavesSchema.optional(),
  answers: z.strictObject({
    count: positive.max(16),
    /** Largest difference of a logit from its known answer, on the engine that the answers come from and on any other. */
    tolerance: z.number().positive(),
  }),
  lineage: z.strictObject({
    set: z.string(),
    split: z.string(),
    seed: z.number().int(),
    parent: sha256Schema.optional(),
  }),
  /** What the bundle reached on its test part, as measured when it was made. */
  measured: z.strictObject({ accuracy: z.number(), balancedAccuracy: z.number(), macroF1: z.number(), windows: z.number().int() }),
  runtime: z.strictObject({ tremolo: z.string(), operators: z.array(z.string()) }),
  /** `core` decides, `adapt` learns on the gateway, `server` (float weights, report) never leaves the server. */
  parts: z.strictObject({ core: filesSchema, adapt: filesSchema.optional(), server: filesSchema.optional() }),
});

export type Manifest = z.infer<typeof manifestSchema>;
export type PartName = keyof Manifest['parts'];

/** Parses the bytes of a manifest. @throws BundleRefusal with every mistake in one line */
export function parseManifest(text: string): Manifest {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (cause) {
    throw new BundleRefusal('bundle/manifest', 'manifest.json is not JSON', { cause });
  }
  const version = (raw as { formatVersion?: unknown } | null)?.formatVersion;
  if (typeof version === 'number' && version !== FORMAT_VERSION) {
    throw new BundleRefusal('bundle/version', `manifest.json has format version ${version}; this program reads ${FORMAT_VERSION}`);
  }
  const checked = check(manifestSchema, raw);
  if ('data' in checked) return checked.data;
  throw new BundleRefusal('bundle/manifest', `manifest.json: ${mistakesLine(checked.mistakes, 'manifest')}`);
}
