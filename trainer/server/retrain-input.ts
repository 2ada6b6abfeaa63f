import * as z from 'zod';
import { sha256Schema } from '../../models/checks/sha256.ts';

/** What a retraining is asked for. */
export const retrainInputSchema = z.strictObject({
  /** Digest of the bundle that it begins with. */
  base: sha256Schema,
  /** Number of the last arrival that counts: the same input has the same windows. */
  through: z.number().int().nonnegative(),
  /** Why, for people. */
  why: z.string(),
});
