import * as z from 'zod';
import { ALARM_STATES } from './alarm-state.ts';
import { healthSchema } from './health.ts';

const count = z.number().int().nonnegative();

const share = z.number().min(0).max(1);

/** The answer where no class is probable enough, or a window is like nothing known. */
export const UNKNOWN = 'unknown';

/** One decided window. */
export const diagnosisSchema = z.strictObject({
  stream: z.string(),
  /** The device's epoch, and the index of the first sample after the window within it: where the window lies. */
  epoch: count,
  endSequence: count,
  /** Device clock at the window's end, microseconds. */
  endDeviceUs: z.number(),
  /** Clock of the gateway when this was published, ISO 8601 in UTC. */
  at: z.iso.datetime(),
  /** The most probable class of this window alone. */
  decision: z.string(),
  /** Probability of the decided class, calibrated with the bundle's temperature. */
  confidence: z.number().min(0).max(1),
  /** In the order of the bundle's classes. */
  probabilities: z.array(z.number()),
  /** The last windows decided together: a class or "unknown", the probability of the most probable class, and how many windows they are. */
  smoothed: z.strictObject({ decision: z.string(), confidence: share, windows: z.number().int().positive() }),
  /** Conformal p-value of this window: the share of healthy windows that look at least as bad. Absent where the bundle has no healthy scores. */
  pValue: share.optional(),
  /** State of the stream's alarm (ISA-18.2). */
  alarm: z.enum(ALARM_STATES),
  /** Distance from what the model knows; absent where the bundle does not measure it. */
  novelty: z.number().optional(),
  /** Healthy windows towards the machine's reference; absent once there is one, or where the bundle takes none. */
  commissioning: z.strictObject({ windows: count, needed: count }).optional(),
  /** Which of the bundle's two networks decided this window. */
  model: z.enum(['primary', 'backup']),
  /** From the arrival of the window's last frame at the gateway to this message, milliseconds. */
  latencyMs: z.number().nonnegative(),
  /** First 12 digits of the digest of the bundle that decided, and the row of its adapter bank. */
  bundle: z.string(),
  adapter: count,
});

export type Diagnosis = z.infer<typeof diagnosisSchema>;

/** Every window ends up in exactly one of these: expected = decided + waiting + the sum of refused. */
const ledgerSchema = z.strictObject({
  samplesReceived: count,
  samplesLost: count,
  samplesLate: count,
  windowsExpected: count,
  windowsDecided: count,
  windowsWaiting: count,
  windowsRefused: z.strictObject({
    /** Overwritten by newer samples before the model could read it. */
    overrun: count,
    /** The model gave numbers that are not numbers. */
    notFinite: count,
    /** The engine failed, and the back-up too where there is one. */
    failed: count,
    /** The gateway stopped before their turn came. */
    stopped: count,
    /** Another bundle came that cannot read them. */
    replaced: count,
  }),
});

export type Ledger = z.infer<typeof ledgerSchema>;

/** How the bundle's two networks share the work. */
const dualStatusSchema = z.strictObject({
  /** `suspect`: the primary decides, and the back-up runs on every window beside it. */
  mode: z.enum(['primary', 'suspect', 'backup']),
  /** Times that the primary was left, by cause, and times that it returned. */
  switches: z.strictObject({ threw: count, notFinite: count, slow: count, disagreed: count }),
  returns: count,
  /** Windows that the back-up decided; windows that both answered, and of those the ones on which they differed. */
  decidedByBackup: count,
  compared: count,
  differed: count,
  /** Runs of the back-up that threw. */
  backupFailures: count,
});

export type DualStatus = z.infer<typeof dualStatusSchema>;

export const statusSchema = z.strictObject({
  state: z.enum(['online', 'offline']),
  gateway: z.string(),
  version: z.string(),
  /** Unique to this run of the gateway, and when it began: two gateways of one name see each other by it. */
  instance: z.string().optional(),
  startedAt: z.iso.datetime().optional(),
  bundle: z.strictObject({ name: z.string(), digest: z.string() }).optional(),
  engine: z.strictObject({ name: z.string(), version: z.string() }).optional(),
  /** SHA-256 of each stream's adapter, as the bank holds it; streams without one are decided by the base. */
  running: z.strictObject({ adapters: z.record(z.string(), z.string()) }).optional(),
  streams: z.number().int().nonnegative().optional(),
  ledger: ledgerSchema.optional(),
  /** Absent where the bundle has no back-up network. */
  dual: dualStatusSchema.optional(),
  /** Frames that were refused, by cause. */
  framesRefused: z.record(z.string(), count).optional(),
  /** Connections, sources and signals. */
  health: healthSchema.optional(),
});

export type Status = z.infer<typeof statusSchema>;

/**
 * What an operator says of a stream's alarm, machine or adapter. `healthy`: take the machine as it is now for its reference. `revertAdapter`: decide with
 * the adapter before the one that decides.
 */
export const operatorCommandSchema = z.strictObject({ command: z.enum(['acknowledge', 'shelve', 'unshelve', 'healthy', 'revertAdapter']) });

export type OperatorCommand = z.infer<typeof operatorCommandSchema>;
