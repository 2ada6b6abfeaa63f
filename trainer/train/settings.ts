import * as z from 'zod';
import { EVIDENCE_KINDS } from '../../runtime/contracts/drift.ts';
import { readYaml } from '../../runtime/io/yaml-file.ts';
import { Refusal } from '../refusal.ts';
import { ENGINE_NAMES, PRECISIONS } from './engines.ts';
import { DEFAULT_DISTILLATION, DEFAULT_SETTINGS } from './train-network.ts';

const share = z.number().min(0).max(1);
const positive = z.number().positive();
const whole = z.number().int().positive();

const augmentation = z
  .strictObject({
    mask: share,
    mixup: z.number().min(0).max(1),
    dropout: z.number().min(0).max(0.9),
    noise: share,
    gain: z.number().min(1).max(100),
    speed: z.number().min(0).max(0.5),
  })
  .partial();

/** What a training may be told; what is left out is chosen by the recipe. */
const training = z
  .strictObject({
    steps: whole,
    batch: whole.max(4096),
    learningRate: positive.max(1),
    weightDecay: z.number().min(0),
    warmUp: z.number().int().min(0),
    clipNorm: positive,
    labelSmoothing: share,
    averaging: z.number().min(0).max(0.9999),
    patience: z.number().int().min(0),
    augmentation,
  })
  .partial();

export type TrainingChoice = z.infer<typeof training>;

/** Pruning to so many heads, feed-forward units and samples from frame to frame. */
const plan = z.strictObject({ heads: whole, feedForward: whole, hop: z.union([z.literal(32), z.literal(64)]) });

/** `8m`, `90s`, `1h`: seconds. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(s|m|h)$/.exec(text);
  return match ? Number(match[1]) * { s: 1, m: 60, h: 3600 }[match[2] as 's' | 'm' | 'h'] : undefined;
}

const duration = z.string('must be a time such as 90s, 8m or 1h').transform((text, context) => {
  const seconds = parseDuration(text);
  if (seconds !== undefined && seconds > 0) return seconds;
  context.addIssue(`"${text}" is no duration; write 90s, 8m or 1h`);
  return z.NEVER;
});

/** `600M`, `2G`: bytes. */
export function parseBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(M|G)$/.exec(text);
  return match ? Number(match[1]) * { M: 2 ** 20, G: 2 ** 30 }[match[2] as 'M' | 'G'] : undefined;
}

const bytes = z.string('must be a size such as 600M or 2G').transform((text, context) => {
  const size = parseBytes(text);
  if (size !== undefined && size > 0) return size;
  context.addIssue(`"${text}" is no size; write 600M or 2G`);
  return z.NEVER;
});

/** A train.yaml. */
const settingsSchema = z.strictObject({
  /** Which recordings, as the options of the command line say it. */
  data: z
    .strictObject({
      where: z.array(z.string()),
      channels: z.array(z.string().min(1)).min(1),
      rate: positive,
      relabel: z.array(z.string()),
      test: z.string(),
      group: z.string(),
      block: whole.max(10),
      stride: whole,
      reference: z.string().min(1),
      referenceShots: whole,
    })
    .partial()
    .default({}),
  seed: z
    .number()
    .int()
    .min(0)
    .max(2 ** 32 - 1)
    .default(1),
  /** Wall-clock time for all training steps together. */
  budget: duration.optional(),
  /** What computes: onnx, tfjs-node, wasm or cpu. */
  engine: z.enum(ENGINE_NAMES).default('onnx'),
  provider: z.enum(['cpu', 'cuda']).default('cpu'),
  precision: z.enum(PRECISIONS).default('fp32'),
  /** Threads that share the steps of teacher and student. */
  workers: whole.max(64).default(1),
  /** What the process may take: batches are cut until they fit. */
  memory: bytes.optional(),
  teacher: z.union([z.literal(false), training]).default({}),
  student: training.default({}),
  distillation: z
    .strictObject({ temperature: positive, weight: share, embedding: z.number().min(0) })
    .partial()
    .default({}),
  prune: z.union([z.literal(false), z.strictObject({ plans: z.array(plan).min(1), steps: whole, allowed: share }).partial()]).default({}),
  int8: z
    .strictObject({
      weightBits: z.union([z.literal(7), z.literal(8)]),
      method: z.enum(['minmax', 'percentile', 'entropy']),
      allowed: share,
      sparsity: share,
    })
    .partial()
    .default({}),
  /** The most that may leave a site of what the bundle sees there, written into its manifest; a gateway's configuration may allow less. */
  leaves: z
    .strictObject({ evidence: z.enum(EVIDENCE_KINDS).default('raw'), names: z.enum(['stream', 'pseudonym']).default('stream') })
    .prefault({}),
  /** The output `novelty` of the deciding graph; `share` of the known windows may be called novel. */
  novelty: z.union([z.literal(false), z.strictObject({ share: z.number().gt(0).max(0.5) }).partial()]).default({}),
  /** What is trained beside the networks on the same split. */
  baselines: z.array(z.enum(['ridge', 'forest', 'minirocket'])).default(['ridge', 'forest', 'minirocket']),
  /** Whether recipes are tried on the validation part first; else the first one is taken. */
  choose: z.boolean().default(true),
  /** Whether the bundle is held against noise, speed, clipping and attacks. */
  robustness: z.boolean().default(true),
  /** Trials of a search over the student's settings; 0: the recipe. */
  search: z.number().int().min(0).max(10_000).default(0),
  /** A window must be decided in so many milliseconds on this machine. */
  latencyMs: positive.default(20),
});

export type PipelineChoices = z.infer<typeof settingsSchema>;

/** Reads a train.yaml. @throws Refusal train/settings with every mistake and its line, in one line */
export async function readSettings(path: string): Promise<PipelineChoices> {
  return readYaml(path, settingsSchema, (line, cause) => new Refusal('train/settings', line, { cause }));
}

export const DEFAULT_CHOICES: PipelineChoices = settingsSchema.parse({});

/** A recipe with what was told put over it. */
export function trainSettings(recipe: TrainingChoice, told: TrainingChoice, seed: number) {
  return {
    ...DEFAULT_SETTINGS,
    ...recipe,
    ...told,
    augmentation: { ...DEFAULT_SETTINGS.augmentation, ...recipe.augmentation, ...told.augmentation },
    seed,
  };
}

export function distillationSettings(told: PipelineChoices['distillation']) {
  return { ...DEFAULT_DISTILLATION, ...told };
}
