import * as z from 'zod';

const count = z.number().int().nonnegative();
const counters = z.record(z.string(), count);

/** What becomes of a gateway's connections and sources: a part of its status. All counts since the start. */
export const healthSchema = z.strictObject({
  broker: z.strictObject({
    connected: z.boolean(),
    connections: count,
    lost: count,
    failed: count,
    /** Connections that another client with our name took; only some brokers of MQTT 5 say so. */
    takenOver: count,
    /** Times that another gateway of our name was seen, and whether we wait for it to end. */
    rivals: count,
    waitingForName: z.boolean(),
    lastError: z.string().optional(),
  }),
  /** Retained diagnoses that a newer one replaced before the broker could have them. */
  diagnosesReplaced: count,
  outbox: z.strictObject({
    waiting: count,
    bytes: count,
    accepted: count,
    acknowledged: count,
    dropped: count,
    damagedBytes: count,
    failures: count,
    lastError: z.string().optional(),
  }),
  /** Serial ports by name. */
  ports: z.record(
    z.string(),
    z.strictObject({
      state: z.enum(['open', 'retrying', 'closed']),
      path: z.string().optional(),
      opened: count,
      lost: count,
      lastError: z.string().optional(),
      /** Of the link (frames), or of the foreign format. */
      counters,
    }),
  ),
  /** Foreign sources over MQTT by their name in the configuration. */
  foreign: z.record(z.string(), counters),
  signals: counters,
  /** Streams that something is wrong with now, the first of them. */
  troubled: z.record(z.string(), z.array(z.string())),
});

export type Health = z.infer<typeof healthSchema>;
export type PortHealth = Health['ports'][string];
