import * as z from 'zod';
import { sha256Schema } from '../../models/checks/sha256.ts';
import { isTopicName } from './topics.ts';

/**
 * How updates travel. Nothing in these messages is trusted: what a gateway installs follows from signed metadata alone (The Update Framework, 1.0.33),
 * and each byte from a digest therein. A broker can delay an update, it cannot choose one.
 *
 * 1. The server keeps `shared/update/timestamp` (retained): the bytes of timestamp.json. A new one makes every gateway look.
 * 2. A gateway asks on its own topic `update/request` for objects: metadata files by name (`2.root.json`), all else by SHA-256.
 * 3. The server publishes the asked chunks on the shared topics, once for all that asked within a moment. Lost chunks are asked for again.
 * 4. A gateway says where it stands on its own topic `update/state` (retained).
 */

const count = z.number().int().nonnegative();
const share = z.number().min(0).max(1);

/**
 * A number with a fraction in signed metadata: canonical JSON, over which signatures are made, has none (TUF 1.0.33, 4.2), so it travels as a decimal
 * string. `z.encode(targetSchema, target)` gives what is signed.
 */
const decimal = (value: z.ZodNumber) =>
  z.codec(z.string().regex(/^\d{1,12}(\.\d{1,9})?$/), value, { decode: (text) => Number(text), encode: (number) => String(number) });

/** Chunks that one request names at most: what is in flight for one gateway. */
export const LARGEST_WINDOW = 64;

/** The role that signs what the gateways of a site shall run, as the role of all targets delegates it. Its targets lie below `SITE/`. */
export const siteRole = (site: string): string => `site-${site}`;

/**
 * Field of timestamp.json beside those of the specification: when the server signed it, a date-time (`2026-05-01T00:00:00Z`). The one time that a gateway
 * without a clock can believe.
 */
export const SIGNED_AT = 'signed_at';

/** A metadata file's name (a site's role: 5 characters more than the longest site), or a SHA-256 in lower-case hexadecimal. */
export const objectName = z.string().regex(/^([0-9a-f]{64}|(\d{1,10}\.)?[A-Za-z0-9][A-Za-z0-9._-]{0,68}\.json)$/);

/** Gateway → server: chunks of one object, as half-open ranges of indices `[from, to)`. */
export const updateRequestSchema = z.strictObject({
  object: objectName,
  ranges: z
    .array(z.tuple([count, count]))
    .min(1)
    .max(LARGEST_WINDOW),
});
export type UpdateRequest = z.infer<typeof updateRequestSchema>;

/** Server → one gateway: why an object does not come. The gateway stops asking and says so; the next timestamp lets it look again. */
export const updateRefusalSchema = z.strictObject({ object: objectName, reason: z.string().max(256) });

/** What must hold on live windows before a bundle or an adapter decides; signed, for it is part of the target. */
export const thresholdsSchema = z.strictObject({
  /** Windows that the candidate decides in the shadow of the active model. */
  shadowWindows: count,
  /** Longest that the shadow may take, seconds, whatever number of windows came: a gateway without streams does not wait for ever. */
  shadowSeconds: decimal(z.number().positive()),
  /** Least share of shadow windows with the active model's decision; 0 where the classes differ. */
  agreement: decimal(share),
  /** Largest p99 of a batch-1 run on this CPU, milliseconds. */
  latencyMs: decimal(z.number().positive()),
  /** Largest difference of the shares of windows that are not decided normal. */
  alarmShareChange: decimal(share),
  /** Largest growth of resident memory, bytes. */
  memoryBytes: z.number().int().positive(),
});
export type Thresholds = z.infer<typeof thresholdsSchema>;

const targetCommon = {
  /** Unique name of the push that made it. */
  deployment: z.string().min(1).max(64),
  /** Grows with each push of a site: the highest number that is meant for a gateway and not withdrawn is what it shall run. */
  number: z.number().int().positive(),
  /** Gateways that may run it by now; grows with each wave. */
  gateways: z.array(z.string().refine(isTopicName)),
  /** Went wrong: whoever runs it goes back to the highest number that is left, or to the bundle it was installed with. */
  withdrawn: z.boolean(),
  thresholds: thresholdsSchema,
  /** Bytes that this update may move over the network for one gateway, repetitions and metadata included. */
  budgetBytes: z.number().int().positive(),
  /** Platforms it is for, as Node.js names them: `linux-arm64`. Empty: all. */
  platforms: z.array(z.string()),
};

/**
 * `custom` of a target of the delegated role of a site. A bundle's target is its manifest.json, whose digests name the other files; an adapter's target
 * is its safetensors file. Source of the idea that assignments are signed: Uptane 2.1, director repository.
 */
export const targetSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('bundle'), ...targetCommon, parts: z.array(z.enum(['core', 'adapt'])).min(1) }),
  z.strictObject({
    kind: z.literal('adapter'),
    ...targetCommon,
    /** Base that it fits (see Manifest.base). */
    base: sha256Schema,
    /** Stream whose slot it takes. */
    stream: z.string().refine(isTopicName),
  }),
]);
export type Target = z.infer<typeof targetSchema>;

export const UPDATE_PHASES = [
  'idle',
  'metadata',
  'fetch',
  'verify',
  'answers',
  'warmup',
  'shadow',
  'active',
  'confirmed',
  'rolledBack',
  'refused',
] as const;
export type UpdatePhase = (typeof UPDATE_PHASES)[number];

/** What the shadow measured. */
const shadowReportSchema = z.strictObject({
  windows: count,
  agreement: share,
  /** p99 of a batch-1 run on this CPU, milliseconds. */
  latencyMs: z.number().nonnegative(),
  alarmShareChange: share,
  memoryBytes: z.number(),
});
export type ShadowReport = z.infer<typeof shadowReportSchema>;

/** Gateway → server, retained: where each update stands. */
export const updateStateSchema = z.strictObject({
  gateway: z.string(),
  at: z.iso.datetime(),
  phase: z.enum(UPDATE_PHASES),
  deployment: z.string().optional(),
  kind: z.enum(['bundle', 'adapter']).optional(),
  stream: z.string().optional(),
  /** Bytes of the update's objects that are on disk and proved, and bytes in all. */
  progress: z.strictObject({ have: count, total: count }).optional(),
  /** Bytes that this update moved over the network so far. */
  wireBytes: count.optional(),
  shadow: shadowReportSchema.optional(),
  /** Code and cause of a refusal or a roll-back, the attack named where it looks like one. */
  error: z.string().optional(),
  /** Last deployments by their end: what a server that was away still learns. */
  confirmed: z.array(z.string()).max(32),
  failed: z.array(z.strictObject({ deployment: z.string(), error: z.string() })).max(32),
  /** SHA-256 of the running bundle's manifest, as the inference process proved it; SHA-256 of each stream's adapter, as the bank holds it. */
  running: z.strictObject({ bundle: sha256Schema, adapters: z.record(z.string(), sha256Schema) }),
});
export type UpdateState = z.infer<typeof updateStateSchema>;
