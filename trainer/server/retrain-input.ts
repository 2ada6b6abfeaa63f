import * as z from 'zod';

/** What a retraining is asked for. */
export const retrainInputSchema = z.strictObject({
  /** Digest of the bundle that it begins with. */
  base: z.string().regex(/^[0-9a-f]{64}$/),
  /** Number of the last arrival that counts: the same input has the same windows. */
  through: z.number().int().nonnegative(),
  /** Why, for people. */
  why: z.string(),
});
