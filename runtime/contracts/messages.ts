import { z } from 'zod';

const count = z.number().int().nonnegative();

/** One decided window. */
export const diagnosisSchema = z.strictObject({
  stream: z.string(),
  /** The device's epoch, and the index of the first sample after the window within it: where the window lies. */
  epoch: count,
  endSequence: count,
  /** Device clock at the window's end, microseconds. */
  endDeviceUs: z.number(),
  decision: z.string(),
  /** Probability of the decided class, calibrated with the bundle's temperature. */
  confidence: z.number().min(0).max(1),
  /** In the order of the bundle's classes. */
  probabilities: z.array(z.number()),
  /** From the arrival of the window's last frame at the gateway to this message, milliseconds. */
  latencyMs: z.number().nonnegative(),
  /** First 12 digits of the digest of the bundle that decided, and the row of its adapter bank. */
  bundle: z.string(),
  adapter: count,
});

export type Diagnosis = z.infer<typeof diagnosisSchema>;

/** Every window ends up in exactly one of these: expected = decided + waiting + the sum of refused. */
export const ledgerSchema = z.strictObject({
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
    /** The engine failed. */
    failed: count,
  }),
});

export type Ledger = z.infer<typeof ledgerSchema>;

export const statusSchema = z.strictObject({
  state: z.enum(['online', 'offline']),
  gateway: z.string(),
  version: z.string(),
  bundle: z.strictObject({ name: z.string(), digest: z.string() }).optional(),
  engine: z.strictObject({ name: z.string(), version: z.string() }).optional(),
  streams: z.number().int().nonnegative().optional(),
  ledger: ledgerSchema.optional(),
  /** Frames that were refused, by cause. */
  framesRefused: z.record(z.string(), count).optional(),
});

export type Status = z.infer<typeof statusSchema>;
